package trace

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// The names of spans and attributes are those of OpenTelemetry's semantic conventions for messaging,
// HTTP and databases. What they have no name for is under "keystone.".
const (
	TenantKey    = attribute.Key("keystone.tenant")
	RequestIDKey = attribute.Key("keystone.request_id") // the column request_id of events
	SpooledKey   = attribute.Key("keystone.spooled")    // the record waited, or waits, on the edge's disk
	ResultKey    = attribute.Key("keystone.result")     // what became of a record
)

// Sending are the options of a span for what is handed to a topic. producer: the span's context goes
// with the record.
func Sending(topic string, producer bool) []trace.SpanStartOption {
	kind := trace.SpanKindClient
	if producer {
		kind = trace.SpanKindProducer
	}
	return []trace.SpanStartOption{trace.WithSpanKind(kind), trace.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingDestinationName(topic),
		semconv.MessagingOperationName("send"), semconv.MessagingOperationTypeSend)}
}

// Processing are the options of a span for what a consumer does with records of a partition.
func Processing(group, topic string, partition int32) []trace.SpanStartOption {
	return []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingDestinationName(topic), Partition(partition),
		semconv.MessagingConsumerGroupName(group),
		semconv.MessagingOperationName("process"), semconv.MessagingOperationTypeProcess)}
}

// Partition is where a record is.
func Partition(partition int32) attribute.KeyValue {
	return semconv.MessagingDestinationPartitionID(strconv.Itoa(int(partition)))
}

// Place is where in its topic a record is.
func Place(r *kgo.Record) trace.SpanStartOption {
	return trace.WithAttributes(Partition(r.Partition), Offset(r.Offset))
}

// Offset is where in its partition a record is.
func Offset(offset int64) attribute.KeyValue { return semconv.MessagingKafkaOffset(int(offset)) }

// Fail marks a span. kind is of a closed set: an error's own words may quote what is nobody's business.
func Fail(span trace.Span, kind string) {
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	span.SetStatus(codes.Error, "")
}
