package event

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-json"

	"github.com/keystone-cdp/keystone/internal/jsonscan"
)

// Overlay is the settings with what a JSON object says in place of theirs: a member it lacks stays as
// it is, limits are replaced kind by kind and blocklists one by one, and null brings the default of a member, a limit
// or a list back. An unknown member is an error, and so is what Validate says against the result.
func (s Settings) Overlay(text []byte) (Settings, error) {
	if jsonscan.KindOf(bytes.TrimSpace(text)) != jsonscan.Object {
		return s, errors.New("settings must be a JSON object")
	}
	members, d := map[string]json.RawMessage{}, json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&members); err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if d.More() {
		return s, errors.New("settings must be one JSON object, and something follows it")
	}
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(members)) {
		wrong = append(wrong, s.overlay(name, members[name]))
	}
	if err := errors.Join(wrong...); err != nil {
		return s, err
	}
	return s, s.Validate()
}

func (s *Settings) overlay(name string, text []byte) (err error) {
	byDefault := DefaultSettings()
	switch name {
	case "default_region":
		err = overlayValue(&s.DefaultRegion, text, byDefault.DefaultRegion)
	case "promote_traits":
		err = overlayValue(&s.PromoteTraits, text, byDefault.PromoteTraits)
	case "kinds":
		err = overlayValue(&s.Kinds, text, byDefault.Kinds)
	case "limits":
		err = overlayMap(&s.Limits, text)
	case "ip":
		err = overlayValue(&s.IP, text, byDefault.IP)
	case "blocked":
		err = overlayMap(&s.Blocked, text)
	case "retention_days":
		err = overlayValue(&s.RetentionDays, text, byDefault.RetentionDays)
	default:
		return fmt.Errorf("%q is no setting: default_region, promote_traits, kinds, limits, ip, blocked and retention_days are", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// overlayValue decodes into a new value: the one before may be shared.
func overlayValue[T any](to *T, text []byte, byDefault T) error {
	var given *T
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	if *to = byDefault; given != nil {
		*to = *given
	}
	return nil
}

func overlayMap[T any](to *map[string]T, text []byte) error {
	var given map[string]*T
	if err := json.Unmarshal(text, &given); err != nil {
		return err
	}
	if given == nil {
		*to = nil
		return nil
	}
	whole := maps.Clone(*to)
	for name, value := range given {
		switch {
		case value == nil:
			delete(whole, name)
		case whole == nil:
			whole = map[string]T{name: *value}
		default:
			whole[name] = *value
		}
	}
	*to = whole
	return nil
}
