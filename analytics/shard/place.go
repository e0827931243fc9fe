package shard

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
	"github.com/google/uuid"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// Rows of one key must come to one shard for ever, or two versions of it would count. So what places them
// never changes. Here is each rule twice, for Go and for SQL; a test compares them.

// OfProfile is where a profile's row is. A profile's id is a hash.
func OfProfile(id uuid.UUID, shards int) int {
	return int(binary.BigEndian.Uint64(id[8:]) % uint64(shards))
}

// OfOrder is where an order's row is, whoever owns it: that changes.
func OfOrder(tenant uuid.UUID, order string, shards int) int {
	if shards == 1 {
		return 0
	}
	return int(xxhash.Sum64String(tenant.String()+order) % uint64(shards))
}

// OfPartition is where the rows of a partition of the log are; of what is no partition, on the first.
func OfPartition(partition int32, shards int) int { return int(max(partition, 0)) % shards }

// Condition is what holds for a table's rows on one of so many shards, counted from 0.
func Condition(table string, own, shards int) string {
	place := "partition"
	switch {
	case schema.Whole(table):
		return "1"
	case schema.First(table):
		return fmt.Sprintf("%d = 0", own)
	case table == "profiles":
		place = "reinterpretAsUInt64(reverse(substring(UUIDToNum(profile_id), 9, 8)))"
	case table == "orders":
		place = "xxHash64(concat(toString(tenant_id), order_id))"
	}
	return fmt.Sprintf("%s %% %d = %d", place, shards, own)
}
