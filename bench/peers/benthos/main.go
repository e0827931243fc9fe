// Command benthos is the Benthos core with its http_server input, which answers once the output has the
// message, and an output into Kafka. Bento's and Redpanda's kafka_franz are in modules that the Go
// proxy did not serve, so this output is made here of the same client in the same way: a batch is handed
// to franz-go record by record and is done when each is acknowledged.
package main

import (
	"context"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
)

// output writes batches into a topic; it has as many under way as max_in_flight says.
type output struct {
	brokers []string
	topic   string
	client  *kgo.Client
}

func (o *output) Connect(ctx context.Context) (err error) {
	o.client, err = kgo.NewClient(kgo.SeedBrokers(o.brokers...), kgo.DefaultProduceTopic(o.topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	return o.client.Ping(ctx)
}

func (o *output) WriteBatch(ctx context.Context, batch service.MessageBatch) error {
	records := make([]*kgo.Record, 0, len(batch))
	for _, m := range batch {
		value, err := m.AsBytes()
		if err != nil {
			return err
		}
		records = append(records, &kgo.Record{Value: value})
	}
	return o.client.ProduceSync(ctx, records...).FirstErr()
}

func (o *output) Close(context.Context) error {
	if o.client != nil {
		o.client.Close()
	}
	return nil
}

func main() {
	spec := service.NewConfigSpec().Fields(
		service.NewStringListField("seed_brokers"), service.NewStringField("topic"), service.NewIntField("max_in_flight"))
	err := service.RegisterBatchOutput("kafka", spec, func(c *service.ParsedConfig, _ *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
		var o output
		var none service.BatchPolicy
		var err error
		if o.brokers, err = c.FieldStringList("seed_brokers"); err != nil {
			return nil, none, 0, err
		}
		if o.topic, err = c.FieldString("topic"); err != nil {
			return nil, none, 0, err
		}
		inFlight, err := c.FieldInt("max_in_flight")
		return &o, none, inFlight, err
	})
	if err != nil {
		panic(err)
	}
	service.RunCLI(context.Background())
}
