package spool

import (
	"errors"
	"time"
)

// Config of one spool.
type Config struct {
	Dir          string
	Name         string        // in metrics and logs: "live" or "backfill"
	MaxBytes     int64         // on disk
	HighPercent  int           // of MaxBytes: from here on nothing new is let in
	SegmentBytes int64         // a segment file is closed beyond this
	GatherBytes  int           // of appends that wait for one fsync
	DrainBytes   int           // read and delivered at once
	DrainRecords int           // the same, in records
	RetryAfter   time.Duration // first wait of the drain after an error; doubles up to RetryMax
	RetryMax     time.Duration
}

// DefaultConfig holds a gigabyte: about two million events of 400 bytes.
func DefaultConfig() Config {
	return Config{
		MaxBytes:     1 << 30,
		HighPercent:  90,
		SegmentBytes: 16 << 20,
		GatherBytes:  64 << 20,
		DrainBytes:   1 << 20,
		DrainRecords: 1000,
		RetryAfter:   250 * time.Millisecond,
		RetryMax:     5 * time.Second,
	}
}

func (c Config) watermark() int64 { return c.MaxBytes / 100 * int64(c.HighPercent) }

// Validate lists every broken rule at once.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("spool: dir is missing"))
	}
	if c.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("spool: max_bytes must be at least 1 MiB"))
	}
	if c.HighPercent < 1 || c.HighPercent > 99 {
		errs = append(errs, errors.New("spool: high_percent must be between 1 and 99"))
	}
	if c.SegmentBytes < 1 || c.GatherBytes < 1 || c.DrainBytes < 1 || c.DrainRecords < 1 {
		errs = append(errs, errors.New("spool: segment_bytes, gather_bytes, drain_bytes and drain_records must be positive"))
	}
	if c.RetryAfter <= 0 || c.RetryMax < c.RetryAfter {
		errs = append(errs, errors.New("spool: retry_after must be positive and at most retry_max"))
	}
	return errors.Join(errs...)
}
