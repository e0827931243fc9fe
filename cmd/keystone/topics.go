package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystone-cdp/keystone/cmd/keystone/doctor"
	"github.com/keystone-cdp/keystone/internal/service"
)

type topicsCmd struct {
	List   topicsListCmd   `cmd:"" help:"Show Keystone's topics: partitions, replicas, records, settings."`
	Create topicsCreateCmd `cmd:"" help:"Create the topics that are missing; keystone migrate does it too."`
	Check  topicsCheckCmd  `cmd:"" help:"Check the topics and their settings, as keystone doctor does."`
}

type topicsListCmd struct{ target }

// Run prints a line for each topic. One that is missing has dashes.
func (c *topicsListCmd) Run(a *app) error {
	if err := c.resolve(needBrokers); err != nil {
		return err
	}
	client, err := kgo.NewClient(append(c.Broker.options, kgo.SeedBrokers(c.Brokers...))...)
	if err != nil {
		return fmt.Errorf("connect to the log: %w", err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var names []string
	for _, topic := range service.DefaultTopics().Layout() {
		names = append(names, topic.Name)
	}
	details, err := admin.ListTopics(a.ctx, names...)
	if err != nil {
		return fmt.Errorf("list the topics: %w", err)
	}
	settings, err := doctor.TopicSettings(a.ctx, admin, names...)
	if err != nil {
		return fmt.Errorf("read the topics' settings: %w", err)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "topic\tpartitions\treplicas\trecords\tretention.ms\tretention.bytes\tmax.message.bytes\t")
	for _, name := range names {
		detail := details[name]
		if detail.Err != nil || len(detail.Partitions) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t-\t\n", name)
			continue
		}
		records, err := countRecords(a, admin, name)
		if err != nil {
			return err
		}
		s := settings[name]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t\n", name, len(detail.Partitions), detail.Partitions.NumReplicas(), records,
			s["retention.ms"], s["retention.bytes"], s["max.message.bytes"])
	}
	return w.Flush()
}

func countRecords(a *app, admin *kadm.Client, topic string) (records int64, err error) {
	starts, err := admin.ListStartOffsets(a.ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("read the log's starts: %w", err)
	}
	ends, err := admin.ListEndOffsets(a.ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("read the log's ends: %w", err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if start, ok := starts.Lookup(topic, end.Partition); ok && start.Err == nil && end.Err == nil {
			records += end.Offset - start.Offset
		}
	})
	return records, nil
}

type topicsCreateCmd struct {
	target
	topicFlags
}

// Help is shown below the usage.
func (topicsCreateCmd) Help() string {
	return `Safe to run again. A topic's number of partitions is for ever.

Example:
  keystone topics create --brokers a:9092,b:9092 --events-partitions 32 --replication 3`
}

// Run creates them.
func (c *topicsCreateCmd) Run(a *app) error {
	if err := c.resolve(needBrokers); err != nil {
		return err
	}
	return c.topics().Ensure(a.ctx, c.Brokers, c.Broker.options...)
}

type topicsCheckCmd struct {
	target
	expectedTopics
	Timeout time.Duration `help:"For the log to answer." default:"10s"`
	JSON    bool          `name:"json" help:"Print one JSON object."`
}

// Run prints what the doctor finds of the log.
func (c *topicsCheckCmd) Run(a *app) error {
	if err := c.resolve(needBrokers); err != nil {
		return err
	}
	report, err := doctor.Topics(a.ctx, doctor.Config{Brokers: c.Brokers, Access: c.Broker.options, Topics: c.topics(), Timeout: c.Timeout})
	if err != nil {
		return err
	}
	return printReport(a, report, c.JSON)
}
