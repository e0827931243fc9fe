package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystone-cdp/keystone/analytics/query"
	"github.com/keystone-cdp/keystone/internal/control"
	"github.com/keystone-cdp/keystone/internal/event"
	"github.com/keystone-cdp/keystone/internal/service"
)

// minRetention is what the log should keep at least: an outage of the stores over a night.
const minRetention = 24 * time.Hour

func (d *Doctor) checkLog(ctx context.Context) {
	if d.admin == nil {
		return
	}
	meta, err := d.admin.Metadata(ctx)
	if err != nil {
		d.report.add("log", Stops, "start the brokers or mend --brokers; a connection that ends at once (EOF) often lacks --broker-tls or the right --broker-sasl; edges spool to disk meanwhile, up to their limit, then answer 503",
			"%s: no answer: %v", strings.Join(d.cfg.Brokers, ","), err)
		return
	}
	version := "unknown version"
	if versions, err := d.admin.ApiVersions(ctx); err == nil {
		for _, v := range versions {
			version = v.VersionGuess()
			break
		}
	}
	d.report.ok("log", "%d brokers, cluster %s, speaks as Kafka %s", len(meta.Brokers), meta.Cluster, version)
	configs, err := d.topicConfigs(ctx)
	if err != nil {
		d.report.add("topics", Skipped, "", "their settings cannot be read: %v", err)
	}
	for _, want := range d.cfg.Topics.Layout() {
		d.checkTopic(want, meta.Topics[want.Name], len(meta.Brokers), configs[want.Name])
	}
	d.checkOperations(ctx)
	d.checkLogDirs(ctx)
}

// topicSettings are a topic's, by name.
type topicSettings map[string]string

func (s topicSettings) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(s[name], 10, 64)
	return n, err == nil
}

func (d *Doctor) topicConfigs(ctx context.Context) (map[string]topicSettings, error) {
	return TopicSettings(ctx, d.admin, event.TopicEvents, event.TopicBackfill, event.TopicChanges, event.TopicDLQ)
}

// TopicSettings reads topics' settings, defaults included.
func TopicSettings(ctx context.Context, admin *kadm.Client, topics ...string) (map[string]topicSettings, error) {
	all, err := admin.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, err
	}
	out := map[string]topicSettings{}
	for _, resource := range all {
		settings := topicSettings{}
		for _, c := range resource.Configs {
			settings[c.Key] = c.MaybeValue()
		}
		out[resource.Name] = settings
	}
	return out, nil
}

func (d *Doctor) checkTopic(want service.Topic, have kadm.TopicDetail, brokers int, settings topicSettings) {
	const check = "topics"
	found := len(d.report.Findings)
	if have.Topic == "" || have.Err != nil {
		d.missing = true
		why := "is not there"
		if have.Err != nil && have.Err != kerr.UnknownTopicOrPartition { //nolint:errorlint // kerr's errors are values
			why = "cannot be used: " + have.Err.Error()
		}
		d.report.add(check, Stops, "keystone topics create (keystone migrate does it too), with the number of partitions you want for ever", "%s %s", want.Name, why)
		return
	}
	if n := len(have.Partitions); want.Partitions > 0 && n != int(want.Partitions) {
		d.report.add(check, Stops, "give the number the topic has to every role and to migrate; to change it, start a new installation and replay: more partitions move keys, and break the order of what is under way",
			"%s has %d partitions, not %d as configured: keystone migrate refuses it", want.Name, n, want.Partitions)
	}
	replicas := brokers
	var dead, behind []string
	for _, p := range have.Partitions.Sorted() {
		replicas = min(replicas, len(p.Replicas))
		name := strconv.Itoa(int(p.Partition))
		switch {
		case p.Leader < 0 || p.Err == kerr.LeaderNotAvailable: //nolint:errorlint // kerr's errors are values
			dead = append(dead, name)
		case len(p.ISR) < len(p.Replicas):
			behind = append(behind, name)
		}
	}
	if len(dead) > 0 {
		d.report.add(check, Stops, "bring back the brokers that hold them", "%s: partitions %s have no leader", want.Name, strings.Join(dead, ", "))
	}
	if len(behind) > 0 {
		d.report.add(check, Warning, "bring back the brokers that are missing: one more may take the partition away", "%s: partitions %s are not on all their replicas", want.Name, strings.Join(behind, ", "))
	}
	if brokers >= 3 && replicas < 3 {
		d.report.add(check, Warning, "raise it to 3 (rpk topic alter-config, or a reassignment)", "%s has %d replicas on %d brokers: events that were acknowledged die with a broker's disk", want.Name, replicas, brokers)
	}
	d.checkSettings(want, replicas, settings)
	if found == len(d.report.Findings) {
		d.report.ok(check, "%s: %d partitions, %d replicas", want.Name, len(have.Partitions), replicas)
	}
}

func (d *Doctor) checkSettings(want service.Topic, replicas int, settings topicSettings) {
	const check = "topics"
	alter := "rpk topic alter-config " + want.Name + " --set "
	if n, ok := settings.number("max.message.bytes"); ok && n < int64(want.RecordBytes) {
		what := "a large event goes to the edge's spool and stays there"
		if want.RecordBytes > 1<<20 {
			what = "a large profile's change stops its partition"
		}
		d.report.add(check, Stops, alter+"max.message.bytes="+strconv.Itoa(want.RecordBytes), "%s: max.message.bytes is %d, and must be at least %d: %s", want.Name, n, want.RecordBytes, what)
	}
	if policy := settings["cleanup.policy"]; strings.Contains(policy, "compact") {
		d.report.add(check, Stops, alter+"cleanup.policy=delete", "%s: cleanup.policy is %s: of each device's events the last would stay", want.Name, policy)
	}
	if n, ok := settings.number("retention.ms"); ok && n >= 0 && time.Duration(n)*time.Millisecond < minRetention {
		d.report.add(check, Warning, alter+"retention.ms=604800000", "%s: keeps records for %s: an outage of a store that lasts longer loses them", want.Name, time.Duration(n)*time.Millisecond)
	}
	if n, ok := settings.number("min.insync.replicas"); ok && replicas >= 3 && n < 2 {
		d.report.add(check, Warning, alter+"min.insync.replicas=2 (Redpanda acknowledges by majority and needs no setting)", "%s: min.insync.replicas is %d: one broker alone may acknowledge", want.Name, n)
	}
}

// operations that the roles do on topics.
var operations = []kadm.ACLOperation{kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe}

func (d *Doctor) checkOperations(ctx context.Context) {
	request := kmsg.NewPtrMetadataRequest()
	request.IncludeTopicAuthorizedOperations = true
	for _, want := range d.cfg.Topics.Layout() {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(want.Name)
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, d.log)
	if err != nil {
		d.report.add("permissions", Skipped, "", "log: cannot be asked: %v", err)
		return
	}
	told, refused := 0, false
	for _, topic := range response.Topics {
		allowed := kadm.DecodeACLOperations(topic.AuthorizedOperations)
		if topic.ErrorCode != 0 || len(allowed) == 0 { // absent (its own finding), or a broker that does not tell
			continue
		}
		told++
		for _, operation := range operations {
			if !slices.Contains(allowed, operation) && !slices.Contains(allowed, kmsg.ACLOperationAll) {
				refused = true
				d.report.add("permissions", Stops, fmt.Sprintf("give this account the ACL %s on it", operation), "log: %s may not be used for %s", *topic.Topic, operation)
			}
		}
	}
	switch {
	case told == 0:
		d.report.add("permissions", Skipped, "", "log: the broker does not tell what this account may do")
	case !refused:
		d.report.ok("permissions", "log: %d topics may be read and written", told)
	}
}

func (d *Doctor) checkLogDirs(ctx context.Context) {
	all, err := d.admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		d.report.add("disk", Skipped, "", "log: the brokers do not tell: %v", err)
		return
	}
	for _, dir := range all.Sorted() {
		switch {
		case dir.Err != nil:
			d.report.add("disk", Stops, "look at that broker's disk", "broker %d's %s: %v", dir.Broker, dir.Dir, dir.Err)
		case dir.TotalBytes > 0 && dir.UsableBytes >= 0 && dir.UsableBytes <= dir.TotalBytes: // kfake makes numbers up
			d.space(fmt.Sprintf("broker %d's %s", dir.Broker, dir.Dir), uint64(dir.UsableBytes), uint64(dir.TotalBytes), 0)
		}
	}
}

// checkRetention finds records that the log has removed, or soon will, before a stage had them. It asks
// the stages before the log: what moves on meanwhile is no finding.
func (d *Doctor) checkRetention(ctx context.Context) {
	if d.admin == nil || d.missing || d.broken("log") {
		return
	}
	next := map[string]map[topicPartition]int64{}
	if d.pool != nil && !d.broken(checkNameStore, "migrations") {
		offsets, err := control.New(d.pool).Offsets(ctx)
		if err != nil {
			d.report.add("retention", Skipped, "", "the processor's offsets: %v", redact(err))
		}
		next["processor"] = map[topicPartition]int64{}
		for _, o := range offsets {
			next["processor"][topicPartition{o.Topic, o.Partition}] = o.Next
		}
	}
	if d.columns != nil && !d.broken(checkNameColumns, "migrations") {
		positions, err := query.Positions(ctx, d.columns)
		if err != nil {
			d.report.add("retention", Skipped, "", "the sink's positions: %v", redact(err))
		}
		next["sink"] = map[topicPartition]int64{}
		for _, p := range positions {
			next["sink"][topicPartition{p.Topic, p.Partition}] = p.NextOffset
		}
	}
	for _, topic := range []string{event.TopicEvents, event.TopicBackfill, event.TopicChanges} {
		d.checkTopicRetention(ctx, topic, next)
	}
}

type topicPartition struct {
	topic     string
	partition int32
}

func (d *Doctor) checkTopicRetention(ctx context.Context, topic string, next map[string]map[topicPartition]int64) {
	configs, err := TopicSettings(ctx, d.admin, topic)
	if err != nil {
		return // said by checkLog
	}
	starts, err := d.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		d.report.add("retention", Skipped, "", "%s: %v", topic, err)
		return
	}
	old := kadm.ListedOffsets{} // the first record younger than half of the retention
	if retention, ok := configs[topic].number("retention.ms"); ok && retention > 0 {
		half := time.Now().Add(-time.Duration(retention) * time.Millisecond / 2)
		if old, err = d.admin.ListOffsetsAfterMilli(ctx, half.UnixMilli(), topic); err != nil {
			d.report.add("retention", Skipped, "", "%s: %v", topic, err)
		}
	}
	for stage, positions := range next {
		for _, start := range starts.Offsets().Sorted() {
			at, known := positions[topicPartition{topic, start.Partition}]
			if !known {
				continue // it has never had this partition, or does not read the topic
			}
			young, timed := old.Lookup(topic, start.Partition)
			switch {
			case at < start.At:
				d.report.add("retention", Stops, "raise retention.ms and retention.bytes; what is lost can only come from the senders, or, to profiles, from ClickHouse's events; to changes: keystone recover",
					"%s/%d: the log has removed %d records before the %s had them", topic, start.Partition, start.At-at, stage)
			case timed && young.Offset > at:
				d.report.add("retention", Warning, "start more of it, or raise retention.ms until it has caught up",
					"%s/%d: the %s's next record is older than half of the retention", topic, start.Partition, stage)
			}
		}
	}
	if len(next) > 0 && !slices.ContainsFunc(d.report.Findings, func(f Finding) bool { return f.Check == "retention" && strings.HasPrefix(f.Found, topic) }) {
		d.report.ok("retention", "%s: nothing unread is near its end", topic)
	}
}
