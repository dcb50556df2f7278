fetch("openapi.json").then((answer) => answer.json()).then((spec) => {
  // The page may call only the server that serves it, which need not be at its public URL.
  spec.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
  SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    // The document is sent to no validator elsewhere.
    validatorUrl: "none",
  });
});
