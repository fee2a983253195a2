import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { childrenOf, parseXml, textOf } from "../../lib/clouds/xml.ts";

test("parseXml() reads what object storage answers", () => {
  const document =
    '<?xml version="1.0" encoding="UTF-8"?>\n<List xmlns="http://s3.amazonaws.com/doc/" ' +
    "a='\"'>\n" +
    "  <Key>a&amp;b&#x41;&#66;&lt;&gt;&quot;&apos; </Key><Empty/><None></None>\n" +
    "  <Row><Key>1</Key></Row><Row ><Key>2</Key></Row >\n</List>\n";
  const root = parseXml(document);
  assert.ok(root !== null);
  assert.equal(root.name, "List");
  assert.equal(textOf(root, "Key"), "a&bAB<>\"' ");
  assert.equal(textOf(root, "Empty"), "");
  assert.equal(textOf(root, "None"), "");
  assert.equal(textOf(root, "Absent"), null);
  assert.equal(textOf(root, "Row"), null, "neither one of two, nor what holds elements");
  const rows = childrenOf(root, "Row").map((row) => textOf(row, "Key"));
  assert.deepEqual(rows, ["1", "2"]);
});

test("parseXml() refuses whatever else a document may hold", () => {
  const refused = [
    "",
    "text",
    "<a>",
    "</a>",
    "<a></b>",
    "<a></a",
    "<a></a><b></b>",
    "<a></a>text",
    "text<a></a>",
    "<a>1<b></b></a>",
    "<a><b></b>1</a>",
    "<a>&unknown;</a>",
    "<a>&</a>",
    "<a>&amp</a>",
    "<a>&#x110000;</a>",
    "<a>&#9999999;</a>",
    "<a b></a>",
    "<a b=c></a>",
    "<a b='<'></a>",
    "<a><!-- note --></a>",
    "<a><![CDATA[x]]></a>",
    "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
    "<?xml version='1.0'?><?php echo ?><a></a>",
    "<html><br></html>",
    `${"<a>".repeat(30)}${"</a>".repeat(30)}`,
  ];
  for (const document of refused) assert.equal(parseXml(document), null, document);
});

test("parseXml() gives back any text, and half a document never", async () => {
  const text = fc.string({ unit: "grapheme" }).filter((value) => !/[\r\ufeff]/.test(value));
  const escaped = (value: string) =>
    value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&#62;");
  await fc.assert(
    fc.asyncProperty(text, fc.nat(), async (value, cut) => {
      const document = `<a><b>${escaped(value)}</b></a>`;
      const root = parseXml(document);
      assert.equal(root && textOf(root, "b"), value);
      assert.equal(parseXml(document.slice(0, cut % document.length)), null);
    }),
  );
});
