package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keystone-cdp/keystone/bench/demo/page"
	"github.com/keystone-cdp/keystone/internal/service"
)

type demoPageCmd struct {
	DataDir string `help:"Folder of a running keystone dev." default:"${default_data_dir}" env:"KEYSTONE_DATA_DIR" type:"path"`
	Listen  string `help:"Where to serve the shop." default:"127.0.0.1:8090"`
}

// Help is shown below the usage.
func (demoPageCmd) Help() string {
	return `A shop with the tracker in it, and beside it what became of each event: in the browser, and in ClickHouse.

Example:
  keystone demo page --listen 127.0.0.1:8090`
}

// demoPageStop is what requests under way get at the end.
const demoPageStop = 2 * time.Second

// Run serves until Ctrl-C.
func (c *demoPageCmd) Run(a *app) error {
	info, err := readDevInfo(c.DataDir)
	if err != nil {
		return err
	}
	session, err := newSQLSession(info.ClickHouseURL, "JSONEachRow")
	if err != nil {
		return err
	}
	listener, err := service.Listen(a.ctx, c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: page.Handler(page.Config{
		EdgeURL: info.EdgeURL, TrackerKey: info.TrackerKey,
		Rows: func(ctx context.Context, id string) ([]byte, error) { return demoRows(ctx, session, info.Tenant, id) },
	})}
	defer context.AfterFunc(a.ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), demoPageStop)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			_ = server.Close() // what did not end by itself
		}
	})()
	// localhost, not the address: there browsers give pages what they else give https only.
	fmt.Fprintf(a.stdout, "the shop is on http://%s; Ctrl-C ends it\n", strings.Replace(listener.Addr().String(), "127.0.0.1", "localhost", 1))
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// demoRows asks for the newest events of a device. The page has seen to it that the id is a UUID.
func demoRows(ctx context.Context, session *sqlSession, tenant, id string) ([]byte, error) {
	var out bytes.Buffer
	query := fmt.Sprintf(`SELECT message_id, profile_id, identity FROM events_resolved
		WHERE tenant_id = '%s' AND anonymous_id = '%s' ORDER BY timestamp DESC LIMIT 200`, tenant, id)
	if err := session.run(ctx, query, &out); err != nil {
		return nil, err
	}
	rows := strings.Join(strings.Split(strings.TrimSpace(out.String()), "\n"), ",")
	return []byte("[" + rows + "]"), nil
}
