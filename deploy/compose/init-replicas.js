// Makes the replica set from MEMBERS (host:port by commas) when there is none, and waits for a primary.
const members = process.env.MEMBERS.split(",").map((host, n) => ({ _id: n, host: host.trim() }));
try {
  rs.status();
} catch (error) {
  if (error.codeName !== "NotYetInitialized") throw error;
  const settings = members.length > 1 ? { electionTimeoutMillis: 2000, heartbeatIntervalMillis: 400 } : {};
  rs.initiate({ _id: "rs", members, settings });
}
for (let tries = 0; !db.hello().isWritablePrimary && !db.hello().primary; tries++) {
  if (tries > 120) throw new Error("no primary after two minutes");
  sleep(1000);
}
print("the replica set has a primary");
