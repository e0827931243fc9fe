// Package check has tests only.
package check
