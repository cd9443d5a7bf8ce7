// Every page: htmx for the parts that are fetched on demand. Pages work without it, except for fetched parts.
import "htmx.org/dist/htmx.esm.js";

document.body.dataset.ready = "1";
