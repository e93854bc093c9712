"""The directive of the page of error codes: messages, an anchor such as #pb-d490, and an object for the search."""

from docutils import nodes
from error_codes import messages
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective


class ErrorCodes(SphinxDirective):
    """List the codes that begin with the argument, such as PB-D, with their messages and where they are raised."""

    required_arguments = 1

    def run(self):
        """Return a definition list; the page is read anew at every build, since the source may have changed."""
        self.env.note_reread()
        table = messages()
        chosen = table[table["code"].str.startswith(self.arguments[0])]
        entries = [self._entry(code, rows) for code, rows in chosen.groupby("code", sort=True)]
        return [nodes.definition_list("", *entries, classes=["error-codes"])]

    def _entry(self, code, rows):
        anchor = code.lower()
        self.env.domains.standard_domain.note_object("errorcode", code, anchor, location=self.get_location())
        link = nodes.reference("", code, refuri=f"#{anchor}")
        index = addnodes.index(entries=[("single", code, anchor, "main", None)])  # the search has such entries first
        term = nodes.term("", "", link, index, ids=[anchor])
        body = nodes.definition()
        for file, found in rows.groupby("file", sort=False):
            body += [
                nodes.paragraph("", message, support_smartquotes=False)
                for message in found["message"].drop_duplicates()
            ]
            body += nodes.paragraph("", "", nodes.literal("", file), classes=["error-file"])
        return nodes.definition_list_item("", term, body)


def setup(app):
    """Make the directive, and codes objects that the search finds and {errorcode}`PB-D490` links to."""
    app.add_object_type("errorcode", "errorcode", objname="error code")
    app.add_directive("error-codes", ErrorCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
