// What an application with mqtt.js relies on: QoS 0 to 2, retained messages, wills, persistent sessions, over TCP and WebSocket.
//
// usage: node smoke.js URL USER SECRET_KEY FIRST_LEVEL_TOPIC VERSION ORIGIN
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import mqtt from 'mqtt'

const [url, username, secret, topic, version, origin] = process.argv.slice(2)
const v5 = version === '5'
const patience = 60_000

// within fails a wait that takes too long.
function within (promise, what) {
  let timer
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), patience)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Client is a connected client that keeps what it receives.
class Client {
  #messages = []
  #waiting = []

  static async connect (name, { keep = false, will } = {}) {
    const client = new Client()
    const clientId = `js-${name}-${new URL(url).protocol.slice(0, -1)}-${version}-${topic}`
    const password = createHmac('sha1', secret).update(clientId).digest('base64')
    client.mqtt = mqtt.connect(url, {
      clientId,
      username,
      password,
      will,
      clean: !keep,
      protocolVersion: v5 ? 5 : 4,
      properties: v5 ? { sessionExpiryInterval: keep ? 3600 : 0 } : undefined,
      wsOptions: { origin },
      reconnectPeriod: 0
    })
    client.mqtt.on('message', (_topic, _payload, packet) => {
      const waiting = client.#waiting.shift()
      if (waiting) waiting(packet)
      else client.#messages.push(packet)
    })
    const connack = await within(new Promise((resolve, reject) => {
      client.mqtt.once('connect', resolve)
      client.mqtt.once('error', reject)
    }), 'CONNACK')
    client.present = connack.sessionPresent
    return client
  }

  async subscribe (filter, qos, options = {}) {
    const [grant] = await within(this.mqtt.subscribeAsync(filter, { qos, ...options }), 'SUBACK')
    assert.equal(grant.qos, qos)
  }

  publish (name, payload, qos, retain = false, properties) {
    return within(this.mqtt.publishAsync(name, payload, { qos, retain, properties }), 'the acknowledgement')
  }

  async expect (name, payload, qos, retain = false) {
    const packet = await within(new Promise((resolve) => {
      const message = this.#messages.shift()
      if (message) resolve(message)
      else this.#waiting.push(resolve)
    }), `${name}: ${payload}`)
    assert.deepEqual([packet.topic, packet.payload.toString(), packet.qos, packet.retain], [name, payload, qos, retain])
    return packet
  }

  leave () {
    return within(this.mqtt.endAsync(), 'the end')
  }
}

const publisher = await Client.connect('publisher')
let subscriber = await Client.connect('subscriber', { keep: true })
assert.equal(subscriber.present, false)
await subscriber.subscribe(`${topic}/+/x`, 2)
for (const qos of [0, 1, 2]) {
  await publisher.publish(`${topic}/a/x`, `qos ${qos}`, qos)
  await subscriber.expect(`${topic}/a/x`, `qos ${qos}`, qos)
}
const large = 'large '.repeat(20_000)
await publisher.publish(`${topic}/a/x`, large, 1)
await subscriber.expect(`${topic}/a/x`, large, 1)
await subscriber.leave()
for (let i = 0; i < 50; i++) await publisher.publish(`${topic}/b/x`, `offline ${i}`, 1)
subscriber = await Client.connect('subscriber', { keep: true })
assert.equal(subscriber.present, true)
for (let i = 0; i < 50; i++) await subscriber.expect(`${topic}/b/x`, `offline ${i}`, 1)

await publisher.publish(`${topic}/kept`, 'retained', 1, true)
const late = await Client.connect('late')
await late.subscribe(`${topic}/kept`, 1)
await late.expect(`${topic}/kept`, 'retained', 1, true)
await publisher.publish(`${topic}/kept`, '', 1, true)
await late.expect(`${topic}/kept`, '', 1)

await late.subscribe(`${topic}/will`, 1)
const victim = await Client.connect('victim', { will: { topic: `${topic}/will`, payload: 'gone', qos: 1, retain: false } })
victim.mqtt.on('error', () => {})
victim.mqtt.stream.destroy()
await late.expect(`${topic}/will`, 'gone', 1)
if (v5) {
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 600,
    contentType: 'text/plain',
    responseTopic: `${topic}/answers`,
    correlationData: Buffer.from([0, 1, 255]),
    userProperties: { b: ['1', '2'], a: 'ü' }
  }
  await late.subscribe(`${topic}/five`, 1, { properties: { subscriptionIdentifier: 300 } })
  await publisher.publish(`${topic}/five`, 'with properties', 1, false, properties)
  const got = (await late.expect(`${topic}/five`, 'with properties', 1)).properties
  assert.ok(got.messageExpiryInterval > 300 && got.messageExpiryInterval <= 600)
  assert.equal(got.subscriptionIdentifier, 300)
  assert.deepEqual({ ...got.userProperties }, properties.userProperties)
  for (const name of ['payloadFormatIndicator', 'contentType', 'responseTopic', 'correlationData']) assert.deepEqual(got[name], properties[name], name)
  await late.subscribe(`${topic}/own`, 1, { nl: true })
  await late.publish(`${topic}/own`, 'mine', 1)
  await publisher.publish(`${topic}/own`, 'not mine', 1)
  await late.expect(`${topic}/own`, 'not mine', 1)
}
await Promise.all([publisher, subscriber, late].map((client) => client.leave()))
console.log('ok')
