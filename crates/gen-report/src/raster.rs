//! SVG as pixels.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, PixmapMut, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Pixels of a PNG file per unit of the figure.
const SCALE: f32 = 2.0;

/// Latin and Greek letters: figures need no others, and every machine draws the same.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    for font in [&include_bytes!("../fonts/Roboto-Regular.ttf")[..], include_bytes!("../fonts/Roboto-Bold.ttf")] {
        fonts.load_font_data(font.to_vec());
    }
    fonts.set_sans_serif_family("Roboto");
    fonts.set_serif_family("Roboto");
    Arc::new(fonts)
});

/// An SVG file as a PNG file; an error says what is wrong with the SVG.
pub(crate) fn png(svg: &str) -> Result<Vec<u8>, String> {
    let tree = tree(svg)?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it is too large")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

/// Draws an SVG file over a picture of opaque pixels; an error says what is wrong with either.
pub(crate) fn draw_over(svg: &str, rgba: &mut [u8], width: u32, height: u32) -> Result<(), String> {
    let mut pixels = PixmapMut::from_bytes(rgba, width, height).ok_or("the picture has another size")?;
    resvg::render(&tree(svg)?, Transform::identity(), &mut pixels);
    Ok(())
}

fn tree(svg: &str) -> Result<Tree, String> {
    let options = Options { font_family: "Roboto".to_owned(), fontdb: Arc::clone(&FONTS), ..Options::default() };
    Tree::from_str(svg, &options).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_drawing_is_an_error() {
        assert!(png("no picture").is_err());
    }
}
