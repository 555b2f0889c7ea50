"""Pages: one self-contained HTML file each, in one style.

``base.html.j2`` is the frame (head, navigation, footer), ``parts.html.j2`` the blocks (tiles,
sentences, charts, tables, pictures), ``style.css`` the look in light, dark and print. A report's
own template extends the frame and puts blocks into it; every value is escaped.
"""

from project.visualization.page.parts import Column, Picture, Table, Tile, jpeg_picture, render_page

__all__ = ["Column", "Picture", "Table", "Tile", "jpeg_picture", "render_page"]
