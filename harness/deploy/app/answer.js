/* Requests to the server, and the arrays in its answers. */

export const settings = JSON.parse(document.body.dataset.settings);

const types = { uint8: Uint8Array, uint16: Uint16Array };

/* A failed request: its message is one sentence for the user. */
export class RequestFailure extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export const post = async (path, body, { headers = {}, signal } = {}) => {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      body,
      signal,
      headers: { "content-type": "application/octet-stream", "x-harness-token": settings.token, ...headers },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestFailure("the server does not answer; is harness app still running?", 0);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new RequestFailure(answer.error ?? `the server refused the request (${response.status})`, response.status);
  }
  return response;
};

/* JSON of an answer, with `arrays` by name: {data, shape}. The format is that of frames.py. */
export const readFrame = async (response) => {
  const buffer = await response.arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  for (const [name, { offset, length: bytes, shape, type }] of Object.entries(frame.arrays)) {
    const Type = types[type];
    const data = new Type(buffer, 4 + length + offset, bytes / Type.BYTES_PER_ELEMENT);
    frame.arrays[name] = { data, shape };
  }
  return frame;
};

/* A file name without folders, suffix and characters that a file system might refuse. */
export const safeStem = (name) => {
  const stem = name.split(/[\\/]/).pop().replace(/\.[^.]*$/, "");
  return stem.replace(/[^A-Za-z0-9_-]+/g, "_").slice(0, 60) || "image";
};

export const download = (blob, name) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads the blob after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
};
