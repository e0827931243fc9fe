package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/goccy/go-json"
)

// devInfo is dev.json: what a running `keystone dev` tells the other commands, and whoever writes
// scripts against it. It holds secrets (0600).
type devInfo struct {
	EdgeURL        string   `json:"edge_url"`
	AdminURL       string   `json:"admin_url"`
	TrackerKey     string   `json:"tracker_key"`
	IntegrationKey string   `json:"integration_key"`
	Tenant         string   `json:"tenant"` // UUID
	Brokers        []string `json:"brokers"`
	SQLDSN         string   `json:"sql_dsn"`
	ClickHouseURL  string   `json:"clickhouse_url"` // HTTP, with credentials
	ClickHouseDSN  string   `json:"clickhouse_dsn"` // native protocol, with credentials
	Pid            int      `json:"pid"`
	Analysts       string   `json:"analysts"` // which analysts.json ClickHouse runs with: see analystsSum
}

const devInfoFile = "dev.json"

func readDevInfo(dataDir string) (*devInfo, error) {
	path := filepath.Join(dataDir, devInfoFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no keystone dev runs on %s (%s is not there): start one with `make run`, name its folder with --data-dir, or give the DSNs by flags", dataDir, path)
	}
	if err != nil {
		return nil, err
	}
	info := new(devInfo)
	if err := json.Unmarshal(text, info); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if !running(info.Pid) {
		return nil, fmt.Errorf("the keystone dev of %s (pid %d) has died: start it again with `make run`", dataDir, info.Pid)
	}
	return info, nil
}

// running tells whether a process runs, somebody else's included. One that has ended may be there still, until
// its parent asks for it.
func running(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	name := strings.LastIndex(string(stat), ") ") // its end: there may be anything in it
	return err != nil || !strings.HasPrefix(string(stat)[name+1:], " Z")
}

// writeDevInfo replaces dev.json in one step, so that a reader never sees half of it.
func writeDevInfo(dataDir string, info *devInfo) error {
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dataDir, devInfoFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// edgeAdmin is the admin listener of its edge.
func (i *devInfo) edgeAdmin() []string {
	if i.AdminURL == "" {
		return nil
	}
	return []string{i.AdminURL}
}

// target finds the servers a command talks to: by flags and environment, else by a running dev.
type target struct {
	DataDir       string   `group:"servers" help:"Folder of a running keystone dev, where the DSNs below are not given." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	StoreDSN      string   `group:"servers" help:"State store: postgres://…" env:"KEYSTONE_STORE_DSN" placeholder:"DSN"`
	ClickhouseDSN string   `group:"servers" help:"ClickHouse, native protocol: clickhouse://…" env:"KEYSTONE_CLICKHOUSE_DSN" placeholder:"DSN"`
	Brokers       []string `group:"servers" help:"Log: host:port,…" env:"KEYSTONE_BROKERS" placeholder:"HOST:PORT"`

	Store      fileFlags   `embed:"" group:"servers" prefix:"store-" envprefix:"KEYSTONE_STORE_"`
	Clickhouse fileFlags   `embed:"" group:"servers" prefix:"clickhouse-" envprefix:"KEYSTONE_CLICKHOUSE_"`
	Broker     brokerFlags `embed:"" group:"servers" prefix:"broker-" envprefix:"KEYSTONE_BROKER_"`
}

// need says which of the servers a command uses.
type need uint8

const (
	needStore need = 1 << iota
	needClickHouse
	needBrokers
)

// access makes of flags how each server is spoken to. It lists every broken rule at once.
func (t *target) access(n need) error {
	var log, store, columns error
	if n&needBrokers != 0 {
		log = t.Broker.open()
	}
	if n&needStore != 0 && t.StoreDSN != "" {
		store = t.Store.addTo(&t.StoreDSN, "store", "sslmode", "verify-full")
	}
	if n&needClickHouse != 0 && t.ClickhouseDSN != "" {
		columns = t.Clickhouse.addTo(&t.ClickhouseDSN, "clickhouse", "secure", "true")
	}
	return errors.Join(log, store, columns)
}

// resolve finds the servers, and how they are spoken to.
func (t *target) resolve(n need) error {
	if err := t.access(n); err != nil {
		return err
	}
	var missing []string
	if n&needStore != 0 && t.StoreDSN == "" {
		missing = append(missing, "--store-dsn")
	}
	if n&needClickHouse != 0 && t.ClickhouseDSN == "" {
		missing = append(missing, "--clickhouse-dsn")
	}
	if n&needBrokers != 0 && len(t.Brokers) == 0 {
		missing = append(missing, "--brokers")
	}
	if len(missing) == 0 {
		return nil
	}
	info, err := readDevInfo(t.DataDir)
	if err != nil {
		are := " is"
		if len(missing) > 1 {
			are = " are"
		}
		return fmt.Errorf("%s%s not given, and %w", strings.Join(missing, " and "), are, err)
	}
	t.fill(info)
	return nil
}

// fill takes what was not given from a running dev.
func (t *target) fill(info *devInfo) {
	if t.StoreDSN == "" {
		t.StoreDSN = info.SQLDSN
	}
	if t.ClickhouseDSN == "" {
		t.ClickhouseDSN = info.ClickHouseDSN
	}
	if len(t.Brokers) == 0 {
		t.Brokers = info.Brokers
	}
}
