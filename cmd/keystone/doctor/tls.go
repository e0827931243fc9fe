package doctor

import (
	"crypto/tls"
	"net"

	"github.com/jackc/pgx/v5"

	"github.com/keystone-cdp/keystone/analytics/schema"
)

// checkTLS looks at how the stores are spoken to, by what was configured: over a network that may be anybody's, who
// does not verify the other side hands out passwords and people's data.
func (d *Doctor) checkTLS() {
	if d.pool != nil && exposed(d.pool.Config().ConnConfig) {
		d.report.add("tls", Warning, "--store-ca with the authority's file; or sslmode=verify-full in --store-dsn, where it is a public one",
			"the state store may be anybody: its certificate and name are not verified")
	}
	if d.columns == nil {
		return
	}
	opt, err := schema.Options(d.cfg.ClickHouseDSN)
	if err != nil {
		return // it was opened a moment ago: a file of it is being replaced
	}
	for _, addr := range opt.Addr {
		host, _, _ := net.SplitHostPort(addr)
		if opt.TLS == nil && !loopback(host) {
			d.report.add("tls", Warning, "--clickhouse-ca with the authority's file and the port of TLS (9440); or secure=true in --clickhouse-dsn, where it is a public one",
				"ClickHouse may be anybody: it is spoken to without TLS")
			return
		}
	}
}

// exposed tells whether any way to the state store goes over a network and is not verified.
func exposed(c *pgx.ConnConfig) bool {
	open := func(host string, config *tls.Config) bool {
		return !loopback(host) && (config == nil || config.InsecureSkipVerify)
	}
	found := open(c.Host, c.TLSConfig)
	for _, f := range c.Fallbacks {
		found = found || open(f.Host, f.TLSConfig)
	}
	return found
}

// loopback tells a host, or a socket's folder, that is this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || host != "" && host[0] == '/' || ip != nil && ip.IsLoopback()
}
