package schema

import "strings"

// Engines names the table engines in the migrations: those of one server, or of a cluster.
//
// On a cluster of shards a name without more is what analysts ask, on every server the same: a
// Distributed table over all shards, of which each has its part in a table of that name with _local. What
// joins with events row by row is there twice in the same way: a view of one shard's rows, and a
// Distributed table over it. What is small and joined with everything, identity_map and products, is
// whole on every shard under its plain name. All other views are the same text as on one server: they ask
// all shards, and put together what these answer.
//
// Every shard is migrated by itself, so a migration that moves rows moves local ones.
type Engines struct {
	// Replicated makes every table replicate itself, by the server's default path and macros. Create
	// the database with the Replicated engine, so that its DDL reaches every server too.
	Replicated bool
	// Cluster is the name of a cluster of shards in the servers' configuration; empty is none.
	Cluster string
}

// LocalSuffix is what a shard's own part of a table is called beside the table's name.
const LocalSuffix = "_local"

// MergeTree is the engine of tables of facts.
func (e Engines) MergeTree() string { return e.engine("MergeTree", "") }

// ReplacingMergeTree is the engine of tables of a current state. The arguments are the version
// column and, optionally, the column that marks a row as deleted.
func (e Engines) ReplacingMergeTree(args string) string {
	return e.engine("ReplacingMergeTree", args)
}

// AggregatingMergeTree is the engine of rollups.
func (e Engines) AggregatingMergeTree() string { return e.engine("AggregatingMergeTree", "") }

func (e Engines) engine(name, args string) string {
	if e.Replicated {
		name = "Replicated" + name
	}
	return name + "(" + args + ")"
}

// Whole tells of a table that every shard has all of its rows.
func Whole(table string) bool { return table == "identity_map" || table == "products" }

// First tells of a table that is of no shard: the first shard's is the one that counts.
func First(table string) bool { return table == "erasures" || table == "sink_erasures" }

// Local is the name of a table's part on one shard; without shards, and of what has no parts, of the table.
func (e Engines) Local(table string) string {
	if e.Cluster == "" || Whole(table) || First(table) {
		return table
	}
	return table + LocalSuffix
}

// Distributed is the statement that puts the table of all shards over their parts; nothing without
// shards. It has the columns that the part has now, so it is said again where those change. There is no
// sharding key: who inserts chooses the shard, and cannot forget to.
func (e Engines) Distributed(table string) string {
	if e.Cluster == "" {
		return ""
	}
	return "CREATE OR REPLACE TABLE " + table + " AS " + e.Local(table) +
		" ENGINE = Distributed(" + quoteText(e.Cluster) + ", currentDatabase(), " + quoteText(e.Local(table)) + ");"
}

// Drop is the statements that undo a sharded table or view: kind is TABLE or VIEW.
func (e Engines) Drop(kind, name string) string {
	drop := "DROP " + kind + " IF EXISTS " + e.Local(name) + ";"
	if e.Cluster == "" {
		return drop
	}
	return "DROP TABLE IF EXISTS " + name + ";\n" + drop
}

// Global stands before IN where the set is made of other shards' rows too: they are fetched once, and
// sent to all.
func (e Engines) Global() string {
	if e.Cluster == "" {
		return ""
	}
	return "GLOBAL "
}

// String says what a database was made for, for errors.
func (e Engines) String() string {
	parts := []string{"one server"}
	if e.Cluster != "" {
		parts[0] = "the shards of cluster " + e.Cluster
	}
	if e.Replicated {
		parts = append(parts, "replicated tables")
	}
	return strings.Join(parts, " with ")
}
