-- On each server, once: DDL in this database reaches all.
CREATE DATABASE IF NOT EXISTS keystone ENGINE = Replicated('/clickhouse/databases/keystone', '{shard}', '{replica}');
