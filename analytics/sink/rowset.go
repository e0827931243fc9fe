package sink

import "time"

// rowset is rows for one table, column by column.
type rowset struct {
	table string
	all   []column
	rows  int
}

// valuesOf adds a column to a rowset.
func valuesOf[T any](s *rowset, name string) *values[T] {
	c := &values[T]{name: name}
	s.all = append(s.all, c)
	return c
}

// nullableAmountsOf adds a Nullable(Decimal(38, 9)) column.
func nullableAmountsOf(s *rowset, name string) *amounts {
	c := &amounts{nullable: true}
	s.all = append(s.all, &native{name: name, items: c})
	return c
}

// stringListOf adds an Array(String) column.
func stringListOf(s *rowset, name string) *stringList {
	c := &stringList{}
	c.list.items = &c.stringItems
	s.all = append(s.all, &native{name: name, items: &c.list})
	return c
}

// amountListOf adds an Array(Decimal(38, 9)) column, or one of Nullable decimals.
func amountListOf(s *rowset, name string, nullable bool) *amountList {
	c := &amountList{amounts: amounts{nullable: nullable}}
	c.list.items = &c.amounts
	s.all = append(s.all, &native{name: name, items: &c.list})
	return c
}

func (s *rowset) reset() {
	s.rows = 0
	for _, c := range s.all {
		c.reset()
	}
}

// stringList is an Array(String) column. Add a row's items, then end the row.
type stringList struct {
	stringItems
	list list
}

func (l *stringList) item(v string) { l.v = append(l.v, v) }

func (l *stringList) endRow() { l.list.end(len(l.v)) }

// amountList is an Array of decimals. Add a row's items, then end the row.
type amountList struct {
	amounts
	list list
}

func (l *amountList) endRow() { l.list.end(len(l.v)) }

// placeColumns say where in the log a row comes from, and when it was loaded.
type placeColumns struct {
	topic     *values[string]
	partition *values[int32]
	offset    *values[int64]
	loadedAt  *values[time.Time]
}

func placesOf(s *rowset) placeColumns {
	return placeColumns{
		topic: valuesOf[string](s, "topic"), partition: valuesOf[int32](s, "partition"),
		offset: valuesOf[int64](s, "offset"), loadedAt: valuesOf[time.Time](s, "loaded_at"),
	}
}

func (c placeColumns) add(at tp, offset int64) {
	c.topic.add(at.topic)
	c.partition.add(at.partition)
	c.offset.add(offset)
}

// load sets the load time of all rows.
func (c placeColumns) load(at time.Time) {
	c.loadedAt.reset()
	for range c.offset.v {
		c.loadedAt.add(at)
	}
}
