package kafka

import (
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/keystone-cdp/keystone/internal/embedded"
)

const clusterID = "a2V5c3RvbmUtdGVzdC0wMQ" // any UUID in base64

// settings are server.properties. What is not named has Kafka's default, so
// that tests meet its real limits and its real manners.
func settings(dir string, port, controller int) []byte {
	return fmt.Appendf(nil, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[3]s
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://%[2]s,CONTROLLER://%[3]s
log.dirs=%[1]s
# One node, so one replica of what Kafka keeps for itself.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Only costs time: fifty partitions for one group, and waiting for members who may join together.
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
`, filepath.Join(dir, "data"), address(port), address(controller))
}

// javaFlags make a small node that starts soon: most of a short life is spent
// loading classes, and the optimizing compiler would only take the cores away.
func javaFlags() []string {
	return []string{
		"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
	}
}

// locate finds Java and Kafka's jars.
func locate() (java, jars string, err error) {
	jars = filepath.Join(embedded.RepositoryRoot(), "deploy", "engines", "kafka", "jars")
	if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) == 0 {
		return "", "", fmt.Errorf("kafka's jars in %s %w: run \"make kafka\"", jars, embedded.ErrNotInstalled)
	}
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", fmt.Errorf("java, which kafka needs, %w", embedded.ErrNotInstalled)
	}
	return java, jars, nil
}
