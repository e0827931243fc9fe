package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lanes of an edge, each with a spool of its own.
const lanes = 2

// checkSpool tries the spool's folder as the edge would: a file, written, synced and removed.
func (d *Doctor) checkSpool(context.Context) {
	dir := d.cfg.SpoolDir
	if dir == "" {
		return
	}
	if err := writable(dir); err != nil {
		d.report.add("spool", Stops, "make the folder, on a disk of this machine, and give it to the edge's account", "%v: the edge does not start, or cannot take an event while the log is away", err)
		return
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		d.report.add("disk", Skipped, "", "the spool's: %v", err)
		return
	}
	d.report.ok("spool", "%s can be written to", dir)
	// As df has it: what is kept for root is no part of the disk.
	block, total := uint64(stat.Bsize), stat.Blocks-stat.Bfree+stat.Bavail
	d.space("the spool's disk", stat.Bavail*block, total*block, uint64(max(0, lanes*d.cfg.SpoolBytes-used(dir))))
}

func writable(dir string) error {
	file, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	_, err = file.Write([]byte("keystone doctor\n"))
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(file.Name()))
}

// used is what the folder's files have. A running edge removes files meanwhile: those have nothing.
func used(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // gone
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
