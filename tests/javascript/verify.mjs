// Verifies one webhook as a partner's JavaScript would: by the Standard Webhooks project's own library, and by Node's
// own ed25519 where a public key is given. In: {body, headers, secret, publicKey} on stdin. Out: {content, v1a}.
import { createPublicKey, verify } from "node:crypto";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.argv[2] + "/");
const { Webhook } = require("standardwebhooks");
const { body, headers, secret, publicKey } = JSON.parse(readFileSync(0, "utf8"));

function verifiesV1a() {
  if (!publicKey) return null;
  const raw = Buffer.from(publicKey.replace("whpk_", ""), "base64");
  const key = createPublicKey({ key: Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), raw]), format: "der", type: "spki" });
  const signed = Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`);
  return headers["webhook-signature"].split(" ").some((one) => {
    const [version, signature] = one.split(",");
    return version === "v1a" && verify(null, signed, key, Buffer.from(signature, "base64"));
  });
}

const content = secret ? new Webhook(secret).verify(body, headers) : null;
console.log(JSON.stringify({ content, v1a: verifiesV1a() }));
