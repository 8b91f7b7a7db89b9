#include "launch/report/table.h"

#include <glog/logging.h>

#include <cmath>
#include <cstdio>

#include "core/data/csv.h"
#include "launch/report/svg.h"

namespace tsugi {
namespace {

std::string printed(const char* format, double value) {
  if (!std::isfinite(value)) return "";
  char text[40];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

Cell::Cell(double value) : shown(printed("%.4g", value)), exact(printed("%.17g", value)), is_number(true) {}
Cell::Cell(std::string text) : shown(text), exact(std::move(text)) {}
Cell::Cell(const char* text) : shown(text), exact(text) {}
Cell::Cell(double value, std::string shown_as)
    : shown(std::isfinite(value) ? std::move(shown_as) : ""), exact(printed("%.17g", value)), is_number(true) {}

void DataTable::add(std::vector<Cell> cells) {
  CHECK_EQ(cells.size(), header_.size());
  rows_.push_back(std::move(cells));
}

std::string DataTable::html() const {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const std::string& name : header_) out += "<th>" + escape_markup(name) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows_) {
    out += "<tr>";
    for (const Cell& cell : row) {
      out += (cell.is_number ? "<td class=\"number\">" : "<td>") + escape_markup(cell.shown) + "</td>";
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string DataTable::csv() const {
  std::string out;
  for (size_t i = 0; i < header_.size(); ++i) out += (i == 0 ? "" : ",") + csv_field(header_[i]);
  out += "\n";
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) out += (i == 0 ? "" : ",") + csv_field(row[i].exact);
    out += "\n";
  }
  return out;
}

}  // namespace tsugi
