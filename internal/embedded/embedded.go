// Package embedded holds what the engines of `keystone dev` and of the tests
// have in common: finding what "make setup" and "make build" installed, free
// ports, secrets and locks in a data folder, and child processes that die with
// this one.
//
// The engines themselves are the sub-packages: clickhouse and statestore run a
// child process each, broker runs in this process, and enginetest hands all
// three to tests. Each of them owns its own folder, is started and stopped by
// whoever called New, and gives the rest of the product nothing but an address:
// the code above does not know an embedded engine from a production server.
//
// Nothing here is meant for production.
package embedded
