// The official tus client, unchanged, against /uploads of a real box. Arguments: what to do, the endpoint, a local file, the
// path in the box, and the file in which the client remembers its uploads. What it learns is printed as one line of JSON.
import { createReadStream, readFileSync, statSync } from 'node:fs'
import { argv, env, exit } from 'node:process'
import * as tus from 'tus-js-client'

const [deed, endpoint, file, path, memory] = argv.slice(2)
const MIB = 1 << 20
const size = statSync(file).size
const base = {
  endpoint,
  headers: { Authorization: `Bearer ${env.DEVBOX_API_KEY}` },
  metadata: { path, filename: 'not looked at' },
  chunkSize: MIB,
  retryDelays: [0, 100, 500],
  urlStorage: new tus.FileUrlStorage(memory),
}

/** Runs an upload to its end, or until as many bytes are accepted as it may have; answers with the upload. */
function run(upload, until = Infinity) {
  return new Promise((resolve, reject) => {
    upload.options.onError = reject
    upload.options.onSuccess = () => resolve(upload)
    upload.options.onChunkComplete = (_, accepted) => {
      if (accepted >= until && accepted < size) upload.abort().then(() => resolve(upload), reject)
    }
    upload.start()
  })
}

const deeds = {
  /** Stops in the middle, and goes on with a new upload of the same address. */
  async resume() {
    const stopped = await run(new tus.Upload(createReadStream(file), base), MIB)
    const again = new tus.Upload(createReadStream(file), { ...base, uploadUrl: stopped.url })
    let first = null
    again.options.onProgress = (sent) => (first ??= sent)
    await run(again)
    return { url: again.url, first }
  },

  /** Sends everything in the request that creates the upload. */
  async at_once() {
    const options = { ...base, chunkSize: Infinity, uploadDataDuringCreation: true }
    const requests = []
    options.onBeforeRequest = (request) => requests.push(request.getMethod())
    const upload = await run(new tus.Upload(readFileSync(file), options))
    return { url: upload.url, requests }
  },

  /** Three parts at a time, which become one file. */
  async parallel() {
    const requests = []
    const options = { ...base, parallelUploads: 3 }
    options.onBeforeRequest = (request) => {
      if (request.getMethod() === 'POST') requests.push(request.getHeader('Upload-Concat'))
    }
    const upload = await run(new tus.Upload(createReadStream(file), options))
    return { url: upload.url, requests }
  },

  /** Stops in the middle and has the server forget it. */
  async terminate() {
    const stopped = await run(new tus.Upload(createReadStream(file), base), MIB)
    await stopped.abort(true)
    return { url: stopped.url }
  },

  /** Stops in the middle, and leaves the rest to another run. */
  async begin() {
    const stopped = await run(new tus.Upload(createReadStream(file), base), 2 * MIB)
    return { url: stopped.url }
  },

  /** Goes on with what another run left, found by the file alone. */
  async go_on() {
    const upload = new tus.Upload(createReadStream(file), base)
    const [previous] = await upload.findPreviousUploads()
    if (previous === undefined) throw new Error('no earlier upload of this file is remembered')
    upload.resumeFromPreviousUpload(previous)
    const requests = []
    upload.options.onBeforeRequest = (request) => requests.push(request.getMethod())
    await run(upload)
    return { url: upload.url, requests }
  },
}

try {
  console.log(JSON.stringify(await deeds[deed]()))
} catch (error) {
  console.error(error)
  exit(1)
}
