// A manual in HTML as plain text: pages → chapters → sections. Written for the Debian Administrator's Handbook, and so
// for what DocBook's stylesheets make (Publican, xsltproc: one page per section, linked by rel="next" and rel="up");
// any folder of HTML files is read, each being a chapter when nothing says otherwise.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

struct Paragraph {
  /// One line, or several when `code`. White space is single spaces; in code it stands as in the book.
  std::string text;
  bool code = false;
};

/// What stands between one heading (h1 … h4) and the next.
struct Section {
  /// With its number: "6.2.1. Initialization".
  std::string title;
  std::vector<Paragraph> paragraphs;

  /// Title and paragraphs with an empty line between them and a newline at the end. Holds no form feed.
  std::string text() const;
};

struct Page {
  std::string title;
  /// File names that <link rel="…"> points to, without fragment; empty when absent.
  std::string next;
  std::string up;
  /// The first heading h1, which begins a chapter; empty when there is none.
  std::string chapter;
  std::vector<Section> sections;
};

struct Chapter {
  /// File name of its first page without extension: the same in every language of a book.
  std::string name;
  /// Without the number: "Maintenance and Updates: The APT Tools".
  std::string title;
  std::vector<Section> sections;
};

/// The text of one page. Left out: navigation, tables of contents, indices, scripts, images, and the book's cover
/// (class "book"). List items begin with "- ", cells of a table are joined by " | ". Sections without text are dropped.
Page parse_page(std::string_view html);

/// The chapters of all HTML files in `folder` (not below it) in reading order: from index.html along rel="next", then
/// the rest by name. Throws Error(kInputOutput) when the folder cannot be read, Error(kData) when it has no HTML file
/// or a file is not UTF-8.
std::vector<Chapter> read_book(const std::string& folder);

/// "Chapter 6. Title" → "Title", "Appendix A. Title" → "Title", "6.2. Title" → "Title"; else as it is.
std::string without_number(std::string_view title);

/// How many code points a valid UTF-8 text has.
size_t count_code_points(std::string_view text);

}  // namespace tsugi
