// Starts Swagger UI on the service's own description.

// Who presents a key is told more: the description is read again with it.
const readAgain = () => ({
  statePlugins: {
    auth: {
      wrapActions: Object.fromEntries(
        ["authorize", "logout"].map((name) => [
          name,
          (act, system) => (payload) => {
            const result = act(payload);
            system.specActions.download();
            return result;
          },
        ]),
      ),
    },
  },
});

// Set once it is there; the first description is read before that.
let ui = null;
ui = window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  layout: "BaseLayout",
  plugins: [readAgain],
  presets: [window.SwaggerUIBundle.presets.apis],
  // Swagger's own validator would be told of this service, wherever it runs.
  validatorUrl: null,
  requestInterceptor(request) {
    if (request.loadSpec) {
      const key = ui?.authSelectors.authorized().getIn(["key", "value"]);
      if (key) request.headers.Authorization = `Bearer ${key}`;
    }
    return request;
  },
});
