SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // No validator of somebody else's is asked about us.
  validatorUrl: "none",
});
