package service

import (
	"fmt"
	"strconv"
	"strings"
)

// ClientID is how a role names itself to the brokers: itself, and the newest migration its build knows, so
// that the group's members can be told apart before something is taken away from older ones.
func ClientID(role string, schema int64) string {
	return fmt.Sprintf("keystone-%s.schema-%d", role, schema)
}

// SchemaOf reads the migration from a client's id. Builds from before that did not tell.
func SchemaOf(clientID string) (schema int64, ok bool) {
	_, text, found := strings.Cut(clientID, ".schema-")
	schema, err := strconv.ParseInt(text, 10, 64)
	return schema, found && err == nil
}
