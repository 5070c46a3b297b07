"""The local stack: a private RabbitMQ and MongoDB, every service and the demo, on one machine, without installing
anything."""
