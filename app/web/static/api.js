// The service's public HTTP API, and nothing else of it.

/** A request that got no answer: `title` and `detail` are for people, `requestId` is for the service's log. */
export class Problem extends Error {
  constructor({ title, detail, status, requestId, retryAfter, needsKey }) {
    super(detail || title);
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.needsKey = Boolean(needsKey);
  }
}

// The tab's own storage: gone with the tab, and never sent anywhere by the browser itself.
const STORED = "trunkline-key";

/** Whether requests are sent with a key. */
export function hasKey() {
  return sessionStorage.getItem(STORED) !== null;
}

/** Send this API key from now on; none for null. */
export function useKey(key) {
  if (key === null) sessionStorage.removeItem(STORED);
  else sessionStorage.setItem(STORED, key);
}

/** Names of the models that are served, the default one first. */
export async function listModels() {
  const { body } = await call("/models");
  return body.models.map((model) => model.name);
}

/** What a model reads and answers. */
export async function describeModel(name) {
  const { body } = await call(`/models/${encodeURIComponent(name)}`);
  return body;
}

/**
 * Ask for predictions.
 * @param {Record<string, File | string>} parts one a modality
 * @param {{model: string, tasks: string[] | null, explain?: string}} options `tasks` null for all
 * @param {AbortSignal} signal
 */
export async function predict(parts, { model, tasks, explain }, signal) {
  const form = new FormData();
  for (const [name, value] of Object.entries(parts)) form.append(name, value);
  form.append("model", model);
  if (tasks !== null) form.append("tasks", tasks.join(","));
  if (explain !== undefined) form.append("explain", explain);
  const { body, response, elapsed } = await call("/predict", { method: "POST", body: form, signal });
  return { answer: body, stages: parseServerTiming(response.headers.get("Server-Timing")), elapsed };
}

/** `a;dur=1.5, b;dur=2` as [{name, milliseconds}]; metrics without a duration are left out. */
export function parseServerTiming(header) {
  const stages = [];
  for (const metric of (header || "").split(",")) {
    const [name, ...parameters] = metric.split(";").map((part) => part.trim());
    const duration = parameters.find((parameter) => parameter.toLowerCase().startsWith("dur="));
    const milliseconds = duration === undefined ? NaN : Number(duration.slice(4));
    if (name && Number.isFinite(milliseconds)) stages.push({ name, milliseconds });
  }
  return stages;
}

async function call(path, given = {}) {
  const headers = hasKey() ? { Authorization: `Bearer ${sessionStorage.getItem(STORED)}` } : {};
  const options = { ...given, headers };
  const started = performance.now();
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The service cannot be reached", detail: "Check that it is running, then try again." });
  }
  const elapsed = performance.now() - started;
  const text = await response.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Not JSON: a proxy's page, perhaps. The status says enough.
  }
  if (!response.ok || body === null) {
    throw new Problem({
      title: body?.title || `The service answered ${response.status}`,
      detail: body?.detail || "",
      status: response.status,
      requestId: body?.request_id || response.headers.get("X-Request-Id"),
      needsKey: response.headers.has("WWW-Authenticate"),
      retryAfter: Number(response.headers.get("Retry-After")) || null,
    });
  }
  return { body, response, elapsed };
}
