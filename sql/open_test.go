package sql

import "testing"

// A process that is stopped in mid-transaction does not hold its rows for ever.
func TestIdleTransactionsEnd(t *testing.T) {
	pool, err := Open(t.Context(), freshStore(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if IsCockroach(conn.Conn()) {
		t.Skip("it ends transactions without a sign of life by itself")
	}
	var after string
	if err := conn.QueryRow(t.Context(), "SHOW idle_in_transaction_session_timeout").Scan(&after); err != nil || after != "1min" {
		t.Errorf("after %q, %v", after, err)
	}
}
