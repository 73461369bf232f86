//! Figures as pixels.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Pixels of a picture for one of the figure.
const SCALE: f32 = 2.0;

/// The letters of Latin languages and Greek; figures need no others, and every machine draws the same.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    for font in
        [&include_bytes!("../fonts/Roboto-Regular.ttf")[..], include_bytes!("../fonts/Roboto-Bold.ttf")]
    {
        fonts.load_font_data(font.to_vec());
    }
    fonts.set_sans_serif_family("Roboto");
    fonts.set_serif_family("Roboto");
    Arc::new(fonts)
});

/// An SVG file as a PNG file; an error is what is wrong with the SVG.
pub(crate) fn render(svg: &str) -> Result<Vec<u8>, String> {
    let options =
        Options { font_family: "Roboto".to_owned(), fontdb: Arc::clone(&FONTS), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it is too large")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::svg::{Anchor, Svg};

    #[test]
    fn colours_and_letters_are_drawn() {
        let mut svg = Svg::new();
        svg.mark("gan", (20.0, 20.0), "gan");
        svg.text("name", (40.0, 24.0), Anchor::Start, "dcgan é →");
        let pixels = Pixmap::decode_png(&svg.png((120.0, 40.0), "alt").unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (240, 80));
        let colour = |x, y| {
            let pixel = pixels.pixel(x, y).unwrap();
            (pixel.red(), pixel.green(), pixel.blue())
        };
        assert_eq!(colour(40, 40), (0xd9, 0x5f, 0x02));
        assert_eq!(colour(2, 2), (255, 255, 255));
        let dark =
            (80..240).flat_map(|x| (20..60).map(move |y| (x, y))).filter(|(x, y)| colour(*x, *y).0 < 100);
        assert!(dark.count() > 200);
        assert!(render("no picture").is_err());
    }
}
