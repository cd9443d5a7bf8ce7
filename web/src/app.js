// Every page: htmx for the parts that are fetched on demand. Pages work without it, except for fetched parts.
import "htmx.org/dist/htmx.esm.js";

// A one-time link carries its token behind the #; it moves into the form and out of the address and the history.
const link = document.getElementById("link");
if (link) {
  const take = () => {
    if (location.hash.length > 1) link.value = location.hash.slice(1);
    // Choosing a language comes back here; a redirect without a fragment of its own keeps the one it was asked with.
    document.querySelector(".languages").action = `/language#${link.value}`;
    history.replaceState(null, "", location.pathname);
  };
  take();
  addEventListener("hashchange", take);
}

document.body.dataset.ready = "1";
