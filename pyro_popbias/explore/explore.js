// The pages do without this file. With it the list follows the slider while it moves, and what is computed late appears by itself.
"use strict";
const form = document.getElementById("knob");
if (form) {
  const share = document.getElementById("share");
  let asked = 0, timer = 0, poll = 0;

  const show = async (address = `/knob?${new URLSearchParams(new FormData(form))}`) => {
    clearTimeout(poll);
    const number = ++asked;
    const moves = document.getElementById("moves");
    moves.classList.add("busy");
    try {
      const answer = await fetch(address, { credentials: "same-origin" });
      if (number !== asked) return; // the slider has moved on
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (!page.getElementById("moves")) { location.assign(address); return; } // such as a user who is not there
      if (number !== asked) return;
      const open = Array.from(moves.querySelectorAll("details"), each => each.open);
      const fresh = page.getElementById("moves");
      fresh.querySelectorAll("details").forEach((each, place) => { each.open = Boolean(open[place]); });
      moves.replaceWith(document.adoptNode(fresh));
      document.getElementById("said").textContent = page.getElementById("said").textContent;
      history.replaceState(null, "", address);
      later();
    } catch {
      if (number === asked) {
        document.getElementById("said").textContent = "The server does not respond. Is popbias explore still running?";
        moves.classList.remove("busy");
      }
    }
  };
  const soon = delay => { clearTimeout(timer); timer = setTimeout(show, delay); };
  const later = () => {
    const again = Number(document.getElementById("moves").dataset.again);
    if (again) poll = setTimeout(show, again, location.href); // what is shown, and not what is being typed
  };
  share.addEventListener("input", () => {
    document.getElementById("share-said").textContent = share.value;
    soon(120);
  });
  form.addEventListener("submit", event => { event.preventDefault(); soon(0); });
  later();
}
