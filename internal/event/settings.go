package event

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-json"
)

// Built-in kinds of identifiers (spec 2.1). A tenant may add others.
const (
	KindAnonymous = "anonymous"
	KindEmail     = "email"
	KindPhone     = "phone"
	KindCRM       = "crm_id"
)

// MaxTenantKinds bounds the kinds a tenant may add.
const MaxTenantKinds = 32

// Settings are a tenant's rules of identity, and what the edge takes of its traffic. The zero value is not usable: start from
// DefaultSettings.
type Settings struct {
	// DefaultRegion reads phone numbers of the object form that have no "+": ISO 3166-1, two letters.
	DefaultRegion string `json:"default_region,omitempty"`
	// PromoteTraits takes email, phone and crm_id in an identify's payload as identifiers.
	PromoteTraits bool `json:"promote_traits"`
	// Kinds are the tenant's own kinds of verified identifiers, highest priority first.
	Kinds []string `json:"kinds,omitempty"`
	// Limits is how many identifiers of a kind one profile may own; see Limit for the defaults.
	Limits map[string]int `json:"limits,omitempty"`
	// IP is what becomes of visitors' addresses before anything is written: IPFull, IPTruncate or
	// IPDrop.
	IP string `json:"ip,omitempty"`
	// Blocked are lists of what is not taken, by their names: BlockedIPs and so on.
	Blocked map[string][]string `json:"blocked,omitempty"`
	// RetentionDays is how long ClickHouse keeps events, by their event time. 0 is for ever.
	RetentionDays int `json:"retention_days,omitempty"`
}

// MaxRetentionDays is a century.
const MaxRetentionDays = 36_525

// DefaultSettings are the settings of a tenant that never set any.
func DefaultSettings() Settings { return Settings{DefaultRegion: "US", PromoteTraits: true} }

// ParseSettings reads a tenant's stored settings over the defaults. Empty text is the defaults.
func ParseSettings(text []byte) (Settings, error) {
	s := DefaultSettings()
	if len(text) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read tenant settings: %w", err)
	}
	return s, s.Validate()
}

// Validate lists every broken rule at once.
func (s Settings) Validate() error {
	var errs []error
	if r := s.DefaultRegion; r != "" && (len(r) != 2 || r[0] < 'A' || r[0] > 'Z' || r[1] < 'A' || r[1] > 'Z') {
		errs = append(errs, fmt.Errorf("default_region must be two capital letters, not %q", r))
	}
	if s.RetentionDays < 0 || s.RetentionDays > MaxRetentionDays {
		errs = append(errs, fmt.Errorf("retention_days must be between 1 and %d, or 0 for ever", MaxRetentionDays))
	}
	if len(s.Kinds) > MaxTenantKinds {
		errs = append(errs, fmt.Errorf("at most %d kinds of identifiers may be added", MaxTenantKinds))
	}
	for i, k := range s.Kinds {
		if !validKind(k) {
			errs = append(errs, fmt.Errorf("kind %q must be 1 to 32 of a-z, 0-9 and _, starting with a letter", k))
		}
		if slices.Contains(s.Kinds[:i], k) || k == KindAnonymous || k == KindEmail || k == KindPhone || k == KindCRM {
			errs = append(errs, fmt.Errorf("kind %q is there already", k))
		}
	}
	for k, n := range s.Limits {
		if n < 1 {
			errs = append(errs, fmt.Errorf("limits.%s must be at least 1", k))
		}
		if k != KindAnonymous && s.priority(k) < 0 {
			errs = append(errs, fmt.Errorf("limits.%s: no such kind", k))
		}
	}
	return errors.Join(append(errs, s.privacyErrors()...)...)
}

func validKind(k string) bool {
	if len(k) == 0 || len(k) > 32 || k[0] < 'a' || k[0] > 'z' {
		return false
	}
	for _, c := range []byte(k) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// Limit is how many identifiers of a kind one profile may own (spec 2.4).
func (s *Settings) Limit(kind string) int {
	if n, ok := s.Limits[kind]; ok {
		return n
	}
	switch kind {
	case KindCRM:
		return 1
	case KindAnonymous:
		return 500
	}
	return 5
}

// priority orders verified kinds, 0 first; -1 is an unknown kind.
func (s *Settings) priority(kind string) int {
	switch kind {
	case KindCRM:
		return 0
	case KindEmail:
		return 1
	case KindPhone:
		return 2
	}
	if i := slices.Index(s.Kinds, kind); i >= 0 {
		return 3 + i
	}
	return -1
}
