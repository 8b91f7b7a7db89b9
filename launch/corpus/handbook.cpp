#include "launch/corpus/handbook.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <utility>

#include "core/data/file.h"
#include "core/data/utf8.h"
#include "launch/corpus/html.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int64_t kLargestPage = int64_t{64} << 20;

template <typename Names>
bool contains(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// Elements that begin and end a line of their own; all others are part of the running text.
bool is_block(std::string_view name) {
  static constexpr std::array kBlock = {
      "address", "article", "aside",   "blockquote", "body",       "caption", "center", "dd",   "details", "dialog",
      "div",     "dl",      "dt",      "fieldset",   "figcaption", "figure",  "form",   "h1",   "h2",      "h3",
      "h4",      "h5",      "h6",      "hr",         "html",       "legend",  "li",     "main", "ol",      "p",
      "pre",     "section", "summary", "table",      "tbody",      "tfoot",   "thead",  "tr",   "ul"};
  return contains(kBlock, name);
}

/// Whether an element and all in it is not text of the book.
bool is_dropped(const HtmlToken& open) {
  static constexpr std::array kElements = {"head",     "script", "style",  "nav",    "footer",   "noscript",
                                           "template", "svg",    "math",   "iframe", "object",   "audio",
                                           "video",    "canvas", "select", "button", "textarea", "datalist"};
  static constexpr std::array kClasses = {"docnav", "toc",       "indexterm",  "index",       "navheader",
                                          "book",   "navfooter", "navigation", "producttitle"};
  static constexpr std::array kIds = {"banner", "toc", "navigation", "footer"};
  if (open.name == "html" || open.name == "body") return false;
  return contains(kElements, open.name) || contains(kIds, open.attribute("id")) ||
         std::ranges::any_of(kClasses, [&open](const char* name) { return open.has_class(name); });
}

bool is_heading(std::string_view name) {
  return name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '4';
}

/// Length of the invisible code point at `at`: zero-width space, soft hyphen, byte order mark, control characters.
size_t invisible(std::string_view text, size_t at) {
  for (const std::string_view mark : {"\u200B", "\u00AD", "\uFEFF"}) {
    if (text.substr(at).starts_with(mark)) return mark.size();
  }
  const auto byte = static_cast<unsigned char>(text[at]);
  return (byte < 0x20 && byte != '\n' && byte != '\t' && byte != '\r' && byte != '\f') || byte == 0x7F ? 1 : 0;
}

/// Length of the blank at `at`: ASCII white space or a no-break space.
size_t blank(std::string_view text, size_t at) {
  if (std::string_view(" \t\r\n\f").find(text[at]) != std::string_view::npos) return 1;
  return text.substr(at).starts_with("\u00A0") ? 2 : 0;
}

std::string one_line(std::string_view text) {
  std::string out;
  bool space = false;
  for (size_t at = 0; at < text.size();) {
    if (const size_t length = blank(text, at)) {
      space = true;
      at += length;
    } else if (const size_t hidden = invisible(text, at)) {
      at += hidden;
    } else {
      if (space && !out.empty()) out += ' ';
      space = false;
      out += text[at++];
    }
  }
  return out;
}

/// Keeps the lines and their indentation; strips what hangs behind them and empty lines before and after.
std::string code_lines(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '\n') {
      out.erase(std::min(out.find_last_not_of(' ') + 1, out.size()));
      if (!out.empty()) out += '\n';
      ++at;
    } else if (const size_t length = blank(text, at)) {
      if (text[at] == '\t') {
        out += "        ";
      } else if (text[at] != '\r') {
        out += ' ';
      }
      at += length;
    } else if (const size_t hidden = invisible(text, at)) {
      at += hidden;
    } else {
      out += text[at++];
    }
  }
  out.erase(out.find_last_not_of(" \n") + 1);
  return out;
}

class PageReader {
 public:
  Page read(std::string_view html) {
    for (const HtmlToken& token : read_html(html)) {
      switch (token.kind) {
        case HtmlToken::Kind::kText:
          text(token.text);
          break;
        case HtmlToken::Kind::kOpen:
          open(token);
          break;
        case HtmlToken::Kind::kClose:
          close(token.name);
          break;
      }
    }
    flush();
    page_.title = one_line(page_.title);
    std::erase_if(page_.sections, [](const Section& section) { return section.paragraphs.empty(); });
    for (Section& section : page_.sections) {
      if (section.title.empty()) section.title = page_.title;
    }
    return std::move(page_);
  }

 private:
  void text(const std::string& text) {
    if (open_count_["title"] > 0 && open_count_["svg"] == 0) page_.title += text;
    if (dropped_depth_ == 0) line_ += text;
  }

  void open(const HtmlToken& token) {
    if (token.name == "link") follow(token);
    if (dropped_depth_ == 0 && is_block(token.name)) flush();
    stack_.push_back({token.name, is_dropped(token)});
    ++open_count_[token.name];
    if (stack_.back().dropped) ++dropped_depth_;
    if (dropped_depth_ > 0) return;
    if (is_heading(token.name)) {
      heading_ = token.name;
    } else if (token.name == "li") {
      bullet_ = true;
    } else if ((token.name == "td" || token.name == "th") && !one_line(line_).empty()) {
      line_ += " | ";
    } else if (token.name == "br") {
      line_ += '\n';
    }
  }

  /// Closes the innermost open element of that name and all that was left open in it; without one does nothing.
  void close(const std::string& name) {
    if (open_count_[name] == 0) return;
    while (true) {
      const Element element = std::move(stack_.back());
      if (dropped_depth_ == 0 && is_block(element.name)) {
        flush();
        // What was empty has nothing to pass on to the next line.
        heading_.clear();
        bullet_ = false;
      }
      stack_.pop_back();
      --open_count_[element.name];
      if (element.dropped) --dropped_depth_;
      if (element.name == name) return;
    }
  }

  void flush() {
    const bool code = open_count_["pre"] > 0;
    std::string text = code ? code_lines(line_) : one_line(line_);
    line_.clear();
    if (text.empty()) return;
    if (!heading_.empty()) {
      if (heading_ == "h1" && page_.chapter.empty()) page_.chapter = text;
      page_.sections.push_back({std::move(text), {}});
      heading_.clear();
      bullet_ = false;
      return;
    }
    if (page_.sections.empty()) page_.sections.emplace_back();
    if (std::exchange(bullet_, false) && !code) text.insert(0, "- ");
    page_.sections.back().paragraphs.push_back({std::move(text), code});
  }

  void follow(const HtmlToken& link) {
    const std::string_view href = link.attribute("href");
    const std::string target(href.substr(0, href.find('#')));
    if (link.attribute("rel") == "next") page_.next = target;
    if (link.attribute("rel") == "up") page_.up = target;
  }

  struct Element {
    std::string name;
    bool dropped;
  };
  Page page_;
  std::vector<Element> stack_;
  std::unordered_map<std::string, int64_t> open_count_;
  int64_t dropped_depth_ = 0;
  std::string line_;
  /// The heading whose text comes next: "h1" … "h4", or empty.
  std::string heading_;
  bool bullet_ = false;
};

void require_utf8(std::string_view html, const std::string& path) {
  for (size_t at = 0; at < html.size();) {
    const int bytes = code_point_at(html, at).bytes;
    if (bytes == 0) {
      throw Error(ExitCode::kData, path + ": byte " + std::to_string(at) + " is not valid UTF-8",
                  "convert the page, for example with iconv -f latin1 -t utf-8");
    }
    at += static_cast<size_t>(bytes);
  }
}

/// File names in reading order.
std::vector<std::string> reading_order(const std::map<std::string, Page>& pages) {
  std::vector<std::string> order;
  std::map<std::string, bool> seen;
  for (auto page = pages.find("index.html"); page != pages.end() && !seen[page->first];
       page = pages.find(page->second.next)) {
    seen[page->first] = true;
    order.push_back(page->first);
  }
  for (const auto& [file, page] : pages) {
    if (!seen[file]) order.push_back(file);
  }
  return order;
}

}  // namespace

std::string Section::text() const {
  std::string out = title;
  for (const Paragraph& paragraph : paragraphs) {
    if (!out.empty()) out += "\n\n";
    out += paragraph.text;
  }
  return out + '\n';
}

Page parse_page(std::string_view html) { return PageReader().read(html); }

std::vector<Chapter> read_book(const std::string& folder) {
  std::map<std::string, Page> pages;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder, failure)) {
    const std::string extension = entry.path().extension();
    if (extension != ".html" && extension != ".htm" && extension != ".xhtml") continue;
    const std::string html = read_file(entry.path(), kLargestPage);
    require_utf8(html, entry.path());
    pages[entry.path().filename()] = parse_page(html);
  }
  if (failure) throw Error(ExitCode::kInputOutput, "cannot read the folder " + folder + ": " + failure.message());
  if (pages.empty()) {
    throw Error(ExitCode::kData, folder + ": no HTML file in this folder (*.html, *.htm, *.xhtml)",
                "the pages must lie in the folder itself, not below it");
  }

  std::vector<Chapter> chapters;
  std::map<std::string, size_t> chapter_of;
  for (const std::string& file : reading_order(pages)) {
    Page& page = pages[file];
    if (page.sections.empty()) continue;
    const auto parent = chapter_of.find(page.up);
    if (!page.chapter.empty() || parent == chapter_of.end()) {
      const std::string& title = page.chapter.empty() ? page.title : page.chapter;
      chapter_of[file] = chapters.size();
      chapters.push_back({std::filesystem::path(file).stem(), without_number(title), {}});
    } else {
      chapter_of[file] = parent->second;
    }
    std::ranges::move(page.sections, std::back_inserter(chapters[chapter_of[file]].sections));
  }
  return chapters;
}

std::string without_number(std::string_view title) {
  const size_t dot = title.find(". ");
  if (dot == title.npos) return std::string(title);
  const std::string_view number = title.substr(0, dot);
  const std::string_view last = number.substr(number.find_last_of(' ') + 1);
  const bool digits = !last.empty() && last.find_first_not_of("0123456789.") == last.npos;
  const bool letter = last.size() == 1 && last[0] >= 'A' && last[0] <= 'Z';
  const bool short_enough = std::ranges::count(number, ' ') <= 1;
  return std::string((digits || letter) && short_enough ? title.substr(dot + 2) : title);
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace tsugi
