// Checks a log from its files alone, in another language and with none of Assent's code: written from RFC 9162 and from
// C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy, tlog-tiles and tlog-proof.
//
//   node verify_log.mjs FOLDER [--before CHECKPOINT] [--proof FILE --leaf FILE]
//
// FOLDER holds `policy`, `checkpoint` and `tile/`, as `assent audit export` and every server of tlog-tiles have them.
// --before: an older checkpoint of the same log, which must be a beginning of this one. --proof, --leaf: a proof file
// (tlog-proof) and the exact bytes of the entry that it is about.
//
// Prints one line of JSON. Exit status 0 when everything holds, 1 with the reason when something does not.

import { createHash, createPublicKey, verify } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const WIDTH = 256;
const HASH_BYTES = 32;
const LOG = 0x01;
const WITNESS = 0x04;

class Wrong extends Error {}

function must(condition, reason) {
  if (!condition) throw new Wrong(reason);
}

const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();
const leafHash = (entry) => sha256(Buffer.of(0), entry);
const nodeHash = (left, right) => sha256(Buffer.of(1), left, right);

function base64(text) {
  const data = Buffer.from(text, "base64");
  must(data.toString("base64") === text, `not base64: ${text}`);
  return data;
}

function decimal(text) {
  must(/^(0|[1-9][0-9]{0,15})$/.test(text), `not a number: ${text}`);
  return Number(text);
}

// --- signed notes ---

function readKey(text) {
  const [name, id, ...rest] = text.split("+");
  const data = base64(rest.join("+"));
  must(data.length === 1 + HASH_BYTES, `not an Ed25519 key: ${name}`);
  const expected = sha256(name, "\n", data).subarray(0, 4).toString("hex");
  must(id === expected, `the key of ${name} has another id`);
  const jwk = { kty: "OKP", crv: "Ed25519", x: data.subarray(1).toString("base64url") };
  const key = createPublicKey({ key: jwk, format: "jwk" });
  return { name, id, type: data[0], key };
}

function readNote(data) {
  const note = data.toString("utf8");
  must(Buffer.from(note).equals(data), "a note is UTF-8");
  const end = note.lastIndexOf("\n\n");
  must(end > 0 && note.endsWith("\n"), "a note has a text, an empty line and signatures");
  const signatures = note.slice(end + 2, -1).split("\n").map((line) => {
    const found = /^\u2014 (\S+) (\S+)$/u.exec(line);
    must(found !== null, `not a signature line: ${line}`);
    const blob = base64(found[2]);
    return { name: found[1], id: blob.subarray(0, 4).toString("hex"), data: blob.subarray(4) };
  });
  return { text: note.slice(0, end + 1), signatures };
}

// Returns how many lines of this key there are; a line that names it and is forged spoils the note.
function signedBy(note, key) {
  const lines = note.signatures.filter((line) => line.name === key.name && line.id === key.id);
  for (const line of lines) {
    let message = Buffer.from(note.text);
    let signature = line.data;
    if (key.type === WITNESS) {
      must(line.data.length === 8 + 64, `the cosignature of ${key.name} is cut off`);
      message = Buffer.from(`cosignature/v1\ntime ${line.data.readBigUInt64BE(0)}\n${note.text}`);
      signature = line.data.subarray(8);
    }
    must(verify(null, message, key.key, signature), `a signature of ${key.name} is not valid`);
  }
  return lines.length;
}

function readCheckpoint(note) {
  const [origin, size, root, ...rest] = note.text.split("\n");
  must(origin !== "" && rest.length >= 1, "a checkpoint has an origin, a size and a root");
  const hash = base64(root);
  must(hash.length === HASH_BYTES, "the root is a SHA-256 hash");
  return { origin, size: decimal(size), root: hash };
}

// --- policy ---

function readPolicy(text) {
  const policy = { logs: [], witnesses: new Map(), groups: new Map(), quorum: undefined };
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/[ \t]+/);
    if (word === "" || word.startsWith("#")) continue;
    if (word === "log") policy.logs.push(readKey(rest[0]));
    else if (word === "witness") policy.witnesses.set(rest[0], readKey(rest[1]));
    else if (word === "group") policy.groups.set(rest[0], { needed: rest[1], members: rest.slice(2) });
    else if (word === "quorum") policy.quorum = rest[0];
    else throw new Wrong(`the policy has a line that is not understood: ${line}`);
  }
  must(policy.quorum !== undefined, "the policy names no quorum");
  must(policy.logs.every((key) => key.type === LOG), "a log's key is of type 1");
  must([...policy.witnesses.values()].every((key) => key.type === WITNESS), "a witness's key is of type 4");
  return policy;
}

function isMet(policy, name, cosigned) {
  if (name === "none") return true;
  if (policy.witnesses.has(name)) return cosigned.has(name);
  const group = policy.groups.get(name);
  must(group !== undefined, `the policy has no ${name}`);
  const met = group.members.filter((member) => isMet(policy, member, cosigned)).length;
  const needed = { all: group.members.length, any: 1 }[group.needed] ?? decimal(group.needed);
  return met >= needed;
}

// The checkpoint in a note, after the log's signature and the quorum of witnesses were verified.
function opened(policy, data) {
  const note = readNote(data);
  const checkpoint = readCheckpoint(note);
  const logs = policy.logs.filter((key) => key.name === checkpoint.origin);
  must(logs.length > 0, `the policy does not name the log ${checkpoint.origin}`);
  must(logs.map((key) => signedBy(note, key)).some((count) => count > 0), "the log did not sign this checkpoint");
  const cosigned = new Set([...policy.witnesses].filter(([, key]) => signedBy(note, key) > 0).map(([name]) => name));
  must(isMet(policy, policy.quorum, cosigned), `too few witnesses: ${[...cosigned].join(", ") || "none"}`);
  return { ...checkpoint, cosigned: [...cosigned].sort() };
}

// --- tiles ---

function tilePath(level, index, width) {
  let path = String(index % 1000).padStart(3, "0");
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, "0")}/${path}`;
  }
  return `tile/${level}/${path}${width === WIDTH ? "" : `.p/${width}`}`;
}

function readTile(folder, level, index, width) {
  const path = tilePath(level, index, width);
  must(existsSync(join(folder, path)), `${path} is missing`);
  return { path, data: readFileSync(join(folder, path)) };
}

function* widths(count) {
  for (let index = 0; index * WIDTH < count; index += 1) yield [index, Math.min(WIDTH, count - index * WIDTH)];
}

// The hashes of all entries, from the entry bundles.
function entryHashes(folder, size) {
  const hashes = [];
  for (const [index, width] of widths(size)) {
    const { path, data } = readTile(folder, "entries", index, width);
    let position = 0;
    for (let number = 0; number < width; number += 1) {
      must(position + 2 <= data.length, `${path} is cut off`);
      const end = position + 2 + data.readUInt16BE(position);
      must(end <= data.length, `${path} is cut off`);
      hashes.push(leafHash(data.subarray(position + 2, end)));
      position = end;
    }
    must(position === data.length, `${path} holds more than ${width} entries`);
  }
  return hashes;
}

// Every level of hash tiles is what the level below makes it.
function checkHashTiles(folder, leaves) {
  let expected = leaves;
  for (let level = 0; expected.length > 0; level += 1) {
    for (const [index, width] of widths(expected.length)) {
      const { path, data } = readTile(folder, level, index, width);
      const wanted = Buffer.concat(expected.slice(index * WIDTH, index * WIDTH + width));
      must(data.equals(wanted), `${path} is not what the tiles below make it`);
    }
    expected = Array.from({ length: Math.floor(expected.length / WIDTH) }, (_, index) =>
      treeHash(expected.slice(index * WIDTH, (index + 1) * WIDTH)),
    );
  }
}

// --- the tree (RFC 9162, section 2.1) ---

function split(count) {
  let half = 1;
  while (half * 2 < count) half *= 2;
  return half;
}

function treeHash(hashes) {
  if (hashes.length === 0) return sha256("");
  if (hashes.length === 1) return hashes[0];
  const half = split(hashes.length);
  return nodeHash(treeHash(hashes.slice(0, half)), treeHash(hashes.slice(half)));
}

// 2.1.3.1
function inclusionProof(index, hashes) {
  if (hashes.length <= 1) return [];
  const half = split(hashes.length);
  return index < half
    ? [...inclusionProof(index, hashes.slice(0, half)), treeHash(hashes.slice(half))]
    : [...inclusionProof(index - half, hashes.slice(half)), treeHash(hashes.slice(0, half))];
}

// 2.1.3.2
function verifyInclusion(index, size, hash, proof, root) {
  must(index < size, "the entry is beyond the end of the log");
  let [fn, sn, r] = [index, size - 1, hash];
  for (const p of proof) {
    must(sn !== 0, "the inclusion proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      r = nodeHash(p, r);
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
    } else r = nodeHash(r, p);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  must(sn === 0 && r.equals(root), `the inclusion proof of entry ${index} does not lead to the root`);
}

// 2.1.4.1
function consistencyProof(old, hashes, whole = true) {
  if (old === hashes.length) return whole ? [] : [treeHash(hashes)];
  const half = split(hashes.length);
  return old <= half
    ? [...consistencyProof(old, hashes.slice(0, half), whole), treeHash(hashes.slice(half))]
    : [...consistencyProof(old - half, hashes.slice(half), false), treeHash(hashes.slice(0, half))];
}

// 2.1.4.2
function verifyConsistency(first, firstRoot, second, secondRoot, proof) {
  if (first === second) {
    must(proof.length === 0 && firstRoot.equals(secondRoot), `two different logs of ${first} entries`);
    return;
  }
  must(proof.length > 0, "the consistency proof is empty");
  const isPowerOfTwo = first === 1 || 2 * split(first) === first;
  const path = isPowerOfTwo ? [firstRoot, ...proof] : proof;
  let [fn, sn] = [first - 1, second - 1];
  while (fn % 2 === 1) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  let [fr, sr] = [path[0], path[0]];
  for (const c of path.slice(1)) {
    must(sn !== 0, "the consistency proof is too long");
    if (fn % 2 === 1 || fn === sn) {
      [fr, sr] = [nodeHash(c, fr), nodeHash(c, sr)];
      while (fn % 2 === 0 && fn !== 0) [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
    } else sr = nodeHash(sr, c);
    [fn, sn] = [Math.floor(fn / 2), Math.floor(sn / 2)];
  }
  const holds = sn === 0 && fr.equals(firstRoot) && sr.equals(secondRoot);
  must(holds, `the log does not begin with the ${first} entries of before`);
}

// --- proof files ---

function checkProof(policy, data, entry) {
  const end = data.indexOf("\n\n");
  must(end > 0, "a proof file has an empty line before its checkpoint");
  const [magic, ...lines] = data.subarray(0, end).toString("utf8").split("\n");
  must(magic === "c2sp.org/tlog-proof@v1", "not a proof file");
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const found = /^index ([0-9]+)$/.exec(lines.shift() ?? "");
  must(found !== null, "a proof file names an index");
  const checkpoint = opened(policy, data.subarray(end + 2));
  verifyInclusion(decimal(found[1]), checkpoint.size, leafHash(entry), lines.map(base64), checkpoint.root);
  return { index: decimal(found[1]), size: checkpoint.size };
}

// --- everything ---

function check(folder, options) {
  const policy = readPolicy(readFileSync(join(folder, "policy"), "utf8"));
  const checkpoint = opened(policy, readFileSync(join(folder, "checkpoint")));
  const { size, root } = checkpoint;
  const leaves = entryHashes(folder, size);
  checkHashTiles(folder, leaves);
  must(treeHash(leaves).equals(root), `these ${size} entries are not those that were signed`);
  for (const index of new Set([0, Math.floor(size / 2), size - 1].filter((one) => one >= 0 && one < size))) {
    verifyInclusion(index, size, leaves[index], inclusionProof(index, leaves), root);
  }
  const report = { origin: checkpoint.origin, size, cosigned: checkpoint.cosigned };
  if (options.before !== undefined) {
    const before = opened(policy, readFileSync(options.before));
    must(before.origin === checkpoint.origin, "the older checkpoint is of another log");
    must(before.size <= size, `the log has ${size} entries and had ${before.size}`);
    if (before.size > 0) verifyConsistency(before.size, before.root, size, root, consistencyProof(before.size, leaves));
    report.before = before.size;
  }
  if (options.proof !== undefined) {
    report.proof = checkProof(policy, readFileSync(options.proof), readFileSync(options.leaf));
  }
  return report;
}

const [folder, ...rest] = process.argv.slice(2);
const options = {};
for (let at = 0; at < rest.length; at += 2) options[rest[at].replace(/^--/, "")] = rest[at + 1];
try {
  console.log(JSON.stringify({ ok: true, ...check(folder, options) }));
} catch (error) {
  console.log(JSON.stringify({ ok: false, why: error.message }));
  process.exitCode = 1;
}
