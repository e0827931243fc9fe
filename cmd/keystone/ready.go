package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

type readyCmd struct {
	AdminListen string        `help:"The role's admin listener: host:port, as the role has it." default:"127.0.0.1:8081" env:"KEYSTONE_ADMIN_LISTEN" placeholder:"ADDR"`
	Timeout     time.Duration `help:"For the answer." default:"3s"`
}

// Run asks /readyz, and fails with what it says is missing.
func (c *readyCmd) Run(a *app) error {
	host, port, err := net.SplitHostPort(c.AdminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // it listens everywhere: here, too
	}
	request, err := http.NewRequestWithContext(a.ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Timeout: c.Timeout}).Do(request)
	if err != nil {
		return fmt.Errorf("ask the role: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read the role's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprintln(a.stdout, "ready")
	return err
}
