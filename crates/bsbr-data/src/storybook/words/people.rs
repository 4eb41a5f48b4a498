//! First names, some of them invented.

super::words! {
    /// First names with the pronoun *she*.
    SHE_NAMES = "
Mara Ilsa Wenna Tilda Brenna Corin Delia Edda Fenna Gisela Hanna Imre Jonna Katrin
Lena Mirel Nadia Oriel Petra Quilla Rosa Selma Talia Ursa Vera Willa Xenia Yara Zelda
Alba Bettina Clara Dorit Elin Flora Greta Hilda Ines Judit Karin Lotta Magda Nora Olga
Paula Renata Sanna Thea Ulrika Vanja Wilma Ylva Zora Agnes Berta Cilla Dagny Elsa Frida
Gerda Helga Ingrid Jana Kaisa Linnea Marta Nelly Odile Pia Ragna Sigrid Tove Una Viola
Wanda Yvette Zita Amira Bianca Carla Doris Esther Fanny Gilda Hazira Iris Jelena Kira
Livia Minna Naomi Orla Polina Rhona Sofia Tamsin Umbra Velma Winifred Ysolde Zaria";
    /// First names with the pronoun *he*.
    HE_NAMES = "
Odo Anton Bruno Casper Dario Emil Fabian Gregor Henrik Ivo Jasper Kaspar Lorenz Milo
Nestor Oskar Pavel Quentin Ruben Stefan Tobias Ulrich Viktor Walter Xaver Yorick Zeno
Aldo Boris Conrad Dmitri Egon Felix Gustav Hector Igor Jonas Karsten Leopold Magnus
Niels Orson Piet Roland Silas Teodor Urban Valentin Wendel Yannick Zoltan Albin Bertram
Cyril Dieter Edgar Frederik Gerhard Hugo Isak Jakob Knut Linus Mattis Norbert Ottokar
Philip Rasmus Simon Torsten Ulf Vincent Werner Yuri Zacharias Arvid Balthasar Cosmo
Damian Erwin Florian Gideon Harald Ignaz Joachim Kilian Ludwig Moritz Nikolai Osric
Peregrin Rolf Sander Thaddeus Umberto Vasil Wolfram Yegor Zander Anselm Benno Clemens";
}
