package sink

import (
	"strings"
	"time"
)

// rowset is rows for one table, column by column.
type rowset struct {
	table string
	all   []column
	rows  int
}

// begin begins a row: each column is added to once.
func (s *rowset) begin() {
	if s.rows > 0 && s.rows%blockRows == 0 {
		for i := range s.all {
			for _, part := range s.all[i].streams {
				part.turn()
			}
		}
	}
	s.rows++
}

func (s *rowset) reset() {
	s.rows = 0
	for i := range s.all {
		for _, part := range s.all[i].streams {
			part.reset()
		}
	}
}

// memory is how many bytes the rows hold on to, after reset.
func (s *rowset) memory() (n int) {
	for i := range s.all {
		for _, part := range s.all[i].streams {
			n += part.memory()
		}
	}
	return n
}

// statement is INSERT INTO table with the columns' names. Both are ours, never a client's.
func (s *rowset) statement(table string) string {
	names := make([]string, len(s.all))
	for i := range s.all {
		names[i] = "`" + s.all[i].name + "`"
	}
	return "INSERT INTO " + table + " (" + strings.Join(names, ", ") + ")"
}

func (s *rowset) put(name, kind string, streams ...*stream) {
	s.all = append(s.all, column{name, kind, streams})
}

func textOf(s *rowset, name string) *textColumn {
	c := &textColumn{}
	s.put(name, "String", &c.stream)
	return c
}

func uuidOf(s *rowset, name string) *uuidColumn {
	c := &uuidColumn{}
	s.put(name, "UUID", &c.stream)
	return c
}

func milliOf(s *rowset, name string) *milliColumn {
	c := &milliColumn{}
	s.put(name, "DateTime64(3, 'UTC')", &c.stream)
	return c
}

func microOf(s *rowset, name string) *microColumn {
	c := &microColumn{}
	s.put(name, "DateTime64(6, 'UTC')", &c.stream)
	return c
}

// byteOf is for UInt8 and Bool: kind says which.
func byteOf(s *rowset, name, kind string) *byteColumn {
	c := &byteColumn{}
	s.put(name, kind, &c.stream)
	return c
}

func uint32Of(s *rowset, name, kind string) *uint32Column {
	c := &uint32Column{}
	s.put(name, kind, &c.stream)
	return c
}

func uint64Of(s *rowset, name, kind string) *uint64Column {
	c := &uint64Column{}
	s.put(name, kind, &c.stream)
	return c
}

func amountOf(s *rowset, name string) *amountColumn {
	c := &amountColumn{nullable: true}
	s.put(name, "Nullable(Decimal(38, 9))", &c.null, &c.values)
	return c
}

func textListOf(s *rowset, name string) *textListColumn {
	c := &textListColumn{}
	s.put(name, "Array(String)", &c.ends, &c.values)
	return c
}

func amountListOf(s *rowset, name string, nullable bool) *amountListColumn {
	c := &amountListColumn{amountColumn: amountColumn{nullable: nullable}}
	if nullable {
		s.put(name, "Array(Nullable(Decimal(38, 9)))", &c.ends, &c.null, &c.values)
	} else {
		s.put(name, "Array(Decimal(38, 9))", &c.ends, &c.values)
	}
	return c
}

// placeColumns say where in the log a row comes from, and when it was loaded.
type placeColumns struct {
	topic     *textColumn
	partition *uint32Column
	offset    *uint64Column
	loadedAt  *milliColumn
}

func placesOf(s *rowset) placeColumns {
	return placeColumns{
		topic: textOf(s, "topic"), partition: uint32Of(s, "partition", "Int32"),
		offset: uint64Of(s, "offset", "Int64"), loadedAt: milliOf(s, "loaded_at"),
	}
}

func (c placeColumns) add(at tp, offset int64) {
	c.topic.add(at.topic)
	c.partition.add(uint32(at.partition))
	c.offset.add(uint64(offset))
	c.loadedAt.uint64(0) // load sets it
}

// load sets the load time of all rows.
func (c placeColumns) load(at time.Time) { c.loadedAt.fill(at) }
