// A click on a column's head sorts a table by it; without scripts the table stands as it is.
document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      var body = table.tBodies[0];
      var key = function (row) {
        var parts = Array.from(row.cells[column].childNodes).filter(function (part) { return part.nodeName !== "SMALL"; });
        var text = parts.map(function (part) { return part.textContent; }).join("").trim();
        if (!head.classList.contains("n")) return text;
        var number = text.replace(/(\d)[,\u00a0\u202f](?=\d{3})/g, "$1").replace("\u2212", "-").match(/-?\d+(\.\d+)?(e-?\d+)?/);
        return number ? Number(number[0]) : "";
      };
      var rows = Array.from(body.rows).sort(function (a, b) {
        var x = key(a), y = key(b);
        if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is undefined stands last either way
        var order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
        return down ? -order : order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
});
