package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// class is a kind of fault.
type class string

const (
	retryStatement  class = "serialization failure (40001) at a statement"
	retryCommit     class = "serialization failure (40001) at COMMIT"
	deadlocked      class = "deadlock (40P01)"
	ambiguousDone   class = "ambiguous commit (40003), it happened"
	ambiguousUndone class = "ambiguous commit (40003), it did not happen"
	cutBefore       class = "connection cut before a statement"
	cutAfter        class = "connection cut after a statement, before its answer"
	cutBeforeCommit class = "connection cut before COMMIT"
	cutAfterCommit  class = "connection cut after COMMIT was sent, before its answer"
	refused         class = "the store refuses (57P01, 53200, 08006)"
	slow            class = "slow store"
	tooSlow         class = "slow store, beyond the attempt's timeout"
	storeDown       class = "store down"

	produceLeader   class = "produce: NOT_LEADER_OR_FOLLOWER"
	produceTimeout  class = "produce: appended, answered REQUEST_TIMED_OUT"
	produceRefused  class = "produce: refused for good (UNKNOWN_SERVER_ERROR)"
	fetchFailed     class = "fetch: NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR"
	listFailed      class = "list offsets: NOT_LEADER_OR_FOLLOWER"
	coordinatorGone class = "coordinator: gone, loading or not available"
	commitFailed    class = "group commit: refused, or done and answered REQUEST_TIMED_OUT"
	leadersMoved    class = "leaders and coordinators move to other brokers"
	brokerCut       class = "broker cuts all connections"
	brokerDown      class = "broker down"

	joined      class = "rebalance: a processor joins in mid-batch"
	left        class = "rebalance: a processor leaves, finishing its batches"
	leftAtOnce  class = "rebalance: a processor leaves, dropping its batches"
	sessionLost class = "zombie: the group has forgotten a processor that goes on"
	paused      class = "zombie: a processor stopped (SIGSTOP) until others have its partitions, goes on"
	claimed     class = "zombie: another owner claims an assigned partition"
	zombieBatch class = "zombie: a former owner's batch (must be refused)"

	killMid          class = "kill -9 in mid-transaction"
	killBeforeCommit class = "kill -9 before COMMIT"
	killAfterCommit  class = "kill -9 between COMMIT and produce"
	killSent         class = "kill -9 after produce was sent, before its answer"
	killProduced     class = "kill -9 between produce and deletion from the outbox"
	killBeforeDelete class = "kill -9 at the deletion from the outbox, not done"
	killAfterDelete  class = "kill -9 at the deletion from the outbox, done"
	killGroupSent    class = "kill -9 after the group commit was sent, before its answer"
	killGroupDone    class = "kill -9 after the group commit"
)

// classes are all of them, in the order of the table.
var classes = []class{
	retryStatement, retryCommit, deadlocked, ambiguousDone, ambiguousUndone, cutBefore, cutAfter, cutBeforeCommit, cutAfterCommit,
	refused, slow, tooSlow, storeDown,
	produceLeader, produceTimeout, produceRefused, fetchFailed, listFailed, coordinatorGone, commitFailed, leadersMoved, brokerCut, brokerDown,
	joined, left, leftAtOnce, sessionLost, paused, claimed, zombieBatch,
	killMid, killBeforeCommit, killAfterCommit, killSent, killProduced, killBeforeDelete, killAfterDelete, killGroupSent, killGroupDone,
}

// kills are the steps at which a child dies.
var kills = []class{killMid, killBeforeCommit, killAfterCommit, killSent, killProduced, killBeforeDelete, killAfterDelete, killGroupSent, killGroupDone}

// tally counts what was injected: what happens by itself (conflicts of real transactions, rebalances
// that follow from a kill) is not in it.
type tally struct {
	mu       sync.Mutex
	injected map[class]int64
	retried  map[string]int64 // 40001, by kind of statement
	passed   map[string]int64 // statements that were let pass, by kind
}

func newTally() *tally {
	return &tally{injected: map[class]int64{}, retried: map[string]int64{}, passed: map[string]int64{}}
}

func (y *tally) add(c class) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.injected[c]++
}

func (y *tally) statement(kind string, c class, hit bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case !hit:
		y.passed[kind]++
	case c == retryStatement, c == retryCommit:
		y.retried[kind]++
		fallthrough
	default:
		y.injected[c]++
	}
}

func (y *tally) total() (n int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, x := range y.injected {
		n += x
	}
	return n
}

// missing are the classes that were never injected.
func (y *tally) missing() (never []class) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, c := range classes {
		if y.injected[c] == 0 {
			never = append(never, c)
		}
	}
	return never
}

// spared are the kinds of statements that never met a serialization failure, though they are common.
func (y *tally) spared(common int64) (kinds []string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for kind, n := range y.passed {
		if n >= common && y.retried[kind] == 0 {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func (y *tally) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var b strings.Builder
	var total int64
	fmt.Fprintf(&b, "| %-81s | injected |\n|%s|---------:|\n", "class", strings.Repeat("-", 83))
	for _, c := range classes {
		fmt.Fprintf(&b, "| %-81s | %8d |\n", c, y.injected[c])
		total += y.injected[c]
	}
	fmt.Fprintf(&b, "| %-81s | %8d |\n", "all", total)
	b.WriteString("serialization failures by statement:")
	for _, kind := range slices.Sorted(maps.Keys(y.retried)) {
		fmt.Fprintf(&b, " %s %d;", kind, y.retried[kind])
	}
	return b.String()
}
