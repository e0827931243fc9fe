-- On each replica, once: DDL in this database reaches both.
CREATE DATABASE IF NOT EXISTS keystone ENGINE = Replicated('/clickhouse/databases/keystone', '{shard}', '{replica}');
