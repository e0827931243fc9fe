package schema

// Engines names the table engines in the migrations: those of one server, or of a cluster.
type Engines struct {
	// Replicated makes every table replicate itself, by the server's default path and macros. Create
	// the database with the Replicated engine, so that its DDL reaches every server too.
	Replicated bool
}

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
