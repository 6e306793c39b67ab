"use strict";

// Shows openapi.json. Everything is put in as text, never as HTML.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function table(rows) {
  const body = element("tbody");
  for (const cells of rows) {
    const [first, ...rest] = cells;
    body.append(element("tr", "", element("th", first), ...rest.map((text) => element("td", text))));
  }
  return element("table", "", body);
}

function kind(schema) {
  if (schema.enum) return schema.enum.join(" | ");
  const bounds = "minimum" in schema && "maximum" in schema ? ` ${schema.minimum} to ${schema.maximum}` : "";
  return `${schema.type ?? "any"}${bounds}`;
}

function operation(path, method, told) {
  const parts = [element("h2", `${method.toUpperCase()} ${path}`), element("p", told.summary)];
  if (told.description) parts.push(element("p", told.description));
  if (told.parameters) {
    parts.push(element("h3", "Fields"));
    parts.push(table(told.parameters.map((each) => [each.name, kind(each.schema), each.description])));
  }
  if (told.requestBody) {
    parts.push(element("h3", "Body"), element("p", Object.keys(told.requestBody.content).join(", ")));
  }
  parts.push(element("h3", "Answers"));
  parts.push(
    table(
      Object.entries(told.responses).map(([status, answer]) => [
        status,
        Object.keys(answer.content ?? {}).join(", "),
        answer.description,
      ]),
    ),
  );
  return element("section", "", ...parts);
}

async function show() {
  const about = document.getElementById("about");
  try {
    const told = await (await fetch("openapi.json")).json();
    about.textContent = told.info.description;
    const paths = document.getElementById("paths");
    for (const [path, methods] of Object.entries(told.paths)) {
      for (const [method, each] of Object.entries(methods)) paths.append(operation(path, method, each));
    }
    for (const [name, schema] of Object.entries(told.components.schemas)) {
      paths.append(element("h2", name), element("pre", JSON.stringify(schema, null, 2)));
    }
  } catch (error) {
    about.textContent = `The reference cannot be read: ${error}`;
  }
}

show();
