package schema

import (
	"context"
	"errors"
	"fmt"
)

// Tiering is where rows are kept, by their age: on a volume of a storage policy of the servers, and after so
// many days on another, slower and cheaper one of it.
type Tiering struct {
	Policy    string // storage policy of the servers' configuration; empty changes nothing
	Volume    string // of the policy, for what is older than
	AfterDays int    // since it was loaded; 0 moves nothing
}

// aged are the tables that grow with time, in whole months of when rows were loaded: a part goes when all of it
// is old enough. Tables of a current state stay where they are.
var aged = []string{"events", "attribute_changes", "profile_merges"}

// Validate lists every broken rule at once.
func (t Tiering) Validate() error {
	var errs []error
	for what, name := range map[string]string{"storage policy": t.Policy, "volume": t.Volume} {
		if name != "" && !databaseName.MatchString(name) {
			errs = append(errs, fmt.Errorf("the %s's name may have letters, digits and _ only", what))
		}
	}
	if t.AfterDays < 0 {
		errs = append(errs, errors.New("the days after which rows move must not be negative"))
	}
	if (t.AfterDays > 0) != (t.Volume != "") || t.AfterDays > 0 && t.Policy == "" {
		errs = append(errs, errors.New("rows that move after some days want both a storage policy and a volume of it"))
	}
	return errors.Join(errs...)
}

// Tier brings the tables to a storage policy, and makes rows move to the volume for old ones. The new policy
// must have the old one's volumes: of the server's default that is a volume default with the disk default. It
// answers whether anything was to be changed. Retain and Tier leave each other's rules alone.
func (m *Migrator) Tier(ctx context.Context, t Tiering) (changed bool, err error) {
	if err := t.Validate(); err != nil {
		return false, fmt.Errorf("set the tiering: %w", err)
	}
	if t.Policy == "" {
		return false, nil
	}
	for _, name := range aged {
		have, err := m.rules(ctx, name)
		if err != nil {
			return changed, err
		}
		if have.policy != t.Policy {
			if _, err := m.db.ExecContext(ctx, "ALTER TABLE "+have.table+" MODIFY SETTING storage_policy = '"+t.Policy+"'"); err != nil {
				return changed, fmt.Errorf("set the storage policy of %s: %w", have.table, err)
			}
			changed = true
		}
		want := have
		want.volume, want.coldDays = t.Volume, t.AfterDays
		did, err := m.setRules(ctx, "timestamp", have, want)
		if err != nil {
			return changed, fmt.Errorf("set the tiering of %s: %w", have.table, err)
		}
		changed = changed || did
	}
	return changed, nil
}
