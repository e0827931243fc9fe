package schema

import "time"

// ColumnTime is a time as the tables hold it: the zero time, and what is before 1970, is 1970-01-01.
func ColumnTime(t time.Time) time.Time {
	if t.Unix() < 0 {
		return time.Unix(0, 0).UTC()
	}
	return t
}

// RowTime is a time that ColumnTime wrote.
func RowTime(t time.Time) time.Time {
	if t.Unix() == 0 && t.Nanosecond() == 0 {
		return time.Time{}
	}
	return t
}
