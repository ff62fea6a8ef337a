"""What the methods text cites. A DOI stands here only where it is certain."""

from __future__ import annotations

REFERENCES: dict[str, str] = {
    "tandem": "The Tandem developers. Tandem: a BIDS App that segments brain MRI and learns participant-level targets "
    "in tandem. Software, Apache-2.0.",
    "bids": "Gorgolewski KJ, Auer T, Calhoun VD, et al. The brain imaging data structure, a format for organizing "
    "and describing outputs of neuroimaging experiments. Scientific Data 3:160044 (2016). "
    "doi:10.1038/sdata.2016.44",
    "bids-apps": "Gorgolewski KJ, Alfaro-Almagro F, Auer T, et al. BIDS Apps: improving ease of use, accessibility, "
    "and reproducibility of neuroimaging data analysis methods. PLoS Computational Biology 13(3):e1005209 "
    "(2017). doi:10.1371/journal.pcbi.1005209",
    "pybids": "Yarkoni T, Markiewicz CJ, de la Vega A, et al. PyBIDS: Python tools for BIDS datasets. Journal of "
    "Open Source Software 4(40):1294 (2019). doi:10.21105/joss.01294",
    "nipype": "Gorgolewski K, Burns CD, Madison C, et al. Nipype: a flexible, lightweight and extensible "
    "neuroimaging data processing framework in Python. Frontiers in Neuroinformatics 5:13 (2011). "
    "doi:10.3389/fninf.2011.00013",
    "nibabel": "Brett M, Markiewicz CJ, Hanke M, et al. nipy/nibabel. Zenodo. doi:10.5281/zenodo.591597",
    "nilearn": "Abraham A, Pedregosa F, Eickenberg M, et al. Machine learning for neuroimaging with scikit-learn. "
    "Frontiers in Neuroinformatics 8:14 (2014). doi:10.3389/fninf.2014.00014",
    "templateflow": "Ciric R, Thompson WH, Lorenz R, et al. TemplateFlow: FAIR-sharing of multi-scale, multi-species "
    "brain models. Nature Methods 19:1568–1571 (2022). doi:10.1038/s41592-022-01681-2",
    "n4": "Tustison NJ, Avants BB, Cook PA, et al. N4ITK: improved N3 bias correction. IEEE Transactions on "
    "Medical Imaging 29(6):1310–1320 (2010). doi:10.1109/TMI.2010.2046908",
    "ants": "Avants BB, Tustison NJ, Song G, Cook PA, Klein A, Gee JC. A reproducible evaluation of ANTs "
    "similarity metric performance in brain image registration. NeuroImage 54(3):2033–2044 (2011). "
    "doi:10.1016/j.neuroimage.2010.09.025",
    "itk": "Avants BB, Tustison NJ, Stauffer M, Song G, Wu B, Gee JC. The Insight ToolKit image registration "
    "framework. Frontiers in Neuroinformatics 8:44 (2014). doi:10.3389/fninf.2014.00044",
    "syn": "Avants BB, Epstein CL, Grossman M, Gee JC. Symmetric diffeomorphic image registration with "
    "cross-correlation: evaluating automated labeling of elderly and neurodegenerative brain. Medical "
    "Image Analysis 12(1):26–41 (2008). doi:10.1016/j.media.2007.06.004",
    "stejskal-tanner": "Stejskal EO, Tanner JE. Spin diffusion measurements: spin echoes in the presence of a "
    "time-dependent field gradient. The Journal of Chemical Physics 42(1):288–292 (1965). doi:10.1063/1.1695690",
    "diffusion-tensor": "Basser PJ, Mattiello J, LeBihan D. Estimation of the effective self-diffusion tensor from the "
    "NMR spin echo. Journal of Magnetic Resonance, Series B 103(3):247–254 (1994). doi:10.1006/jmrb.1994.1037",
    "icbm-2009": "Fonov VS, Evans AC, McKinstry RC, Almli CR, Collins DL. Unbiased nonlinear average age-appropriate "
    "brain templates from birth to adulthood. NeuroImage 47(Suppl 1):S102 (2009). "
    "doi:10.1016/S1053-8119(09)70884-5",
    "icbm-2011": "Fonov V, Evans AC, Botteron K, et al. Unbiased average age-appropriate atlases for pediatric "
    "studies. NeuroImage 54(1):313–327 (2011). doi:10.1016/j.neuroimage.2010.07.033",
    "monai": "Cardoso MJ, Li W, Brown R, et al. MONAI: an open-source framework for deep learning in healthcare. "
    "arXiv:2211.02701 (2022). doi:10.48550/arXiv.2211.02701",
    "pytorch": "Paszke A, Gross S, Massa F, et al. PyTorch: an imperative style, high-performance deep learning "
    "library. Advances in Neural Information Processing Systems 32 (2019). doi:10.48550/arXiv.1912.01703",
    "combat": "Johnson WE, Li C, Rabinovic A. Adjusting batch effects in microarray expression data using empirical "
    "Bayes methods. Biostatistics 8(1):118–127 (2007). doi:10.1093/biostatistics/kxj037",
    "combat-mri": "Fortin JP, Cullen N, Sheline YI, et al. Harmonization of cortical thickness measurements across "
    "scanners and sites. NeuroImage 167:104–120 (2018). doi:10.1016/j.neuroimage.2017.11.024",
    "statsmodels": "Seabold S, Perktold J. Statsmodels: econometric and statistical modeling with Python. Proceedings "
    "of the 9th Python in Science Conference 92–96 (2010). doi:10.25080/Majora-92bf1922-011",
    "hc3": "MacKinnon JG, White H. Some heteroskedasticity-consistent covariance matrix estimators with improved "
    "finite sample properties. Journal of Econometrics 29(3):305–325 (1985). doi:10.1016/0304-4076(85)90158-7",
    "outliers": "Iglewicz B, Hoaglin DC. How to Detect and Handle Outliers. Milwaukee: ASQC Quality Press; 1993.",
    "hedges": "Hedges LV. Distribution theory for Glass's estimator of effect size and related estimators. Journal of "
    "Educational Statistics 6(2):107–128 (1981). doi:10.3102/10769986006002107",
    "steiger": "Steiger JH. Beyond the F test: effect size confidence intervals and tests of close fit in the analysis "
    "of variance and contrast analysis. Psychological Methods 9(2):164–182 (2004). doi:10.1037/1082-989X.9.2.164",
    "fdr": "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful approach to "
    "multiple testing. Journal of the Royal Statistical Society, Series B 57(1):289–300 (1995). "
    "doi:10.1111/j.2517-6161.1995.tb02031.x",
    "holm": "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
    "6(2):65–70 (1979).",
    "freedman-lane": "Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE. Permutation inference for the general "
    "linear model. NeuroImage 92:381–397 (2014). doi:10.1016/j.neuroimage.2014.01.060",
    "icc": "Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability. Psychological Bulletin "
    "86(2):420–428 (1979). doi:10.1037/0033-2909.86.2.420",
    "bland-altman": "Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical "
    "measurement. The Lancet 327(8476):307–310 (1986). doi:10.1016/S0140-6736(86)90837-8",
    "fmriprep": "Esteban O, Markiewicz CJ, Blair RW, et al. fMRIPrep: a robust preprocessing pipeline for functional "
    "MRI. Nature Methods 16(1):111–116 (2019). doi:10.1038/s41592-018-0235-4",
    "alff": "Zang YF, He Y, Zhu CZ, et al. Altered baseline brain activity in children with ADHD revealed by "
    "resting-state functional MRI. Brain and Development 29(2):83–91 (2007). doi:10.1016/j.braindev.2006.07.002",
    "falff": "Zou QH, Zhu CZ, Yang Y, et al. An improved approach to detection of amplitude of low-frequency "
    "fluctuation (ALFF) for resting-state fMRI: fractional ALFF. Journal of Neuroscience Methods 172(1):137–141 "
    "(2008). doi:10.1016/j.jneumeth.2008.04.012",
    "reho": "Zang Y, Jiang T, Lu Y, He Y, Tian L. Regional homogeneity approach to fMRI data analysis. NeuroImage "
    "22(1):394–400 (2004). doi:10.1016/j.neuroimage.2003.12.030",
    "seed": "Biswal B, Yetkin FZ, Haughton VM, Hyde JS. Functional connectivity in the motor cortex of resting human "
    "brain using echo-planar MRI. Magnetic Resonance in Medicine 34(4):537–541 (1995). doi:10.1002/mrm.1910340409",
    "dual-regression": "Nickerson LD, Smith SM, Öngür D, Beckmann CF. Using dual regression to investigate network "
    "shape and amplitude in functional connectivity analyses. Frontiers in Neuroscience 11:115 (2017). "
    "doi:10.3389/fnins.2017.00115",
    "vbm": "Ashburner J, Friston KJ. Voxel-based morphometry: the methods. NeuroImage 11(6):805–821 (2000). "
    "doi:10.1006/nimg.2000.0582",
    "vbm-modulation": "Good CD, Johnsrude IS, Ashburner J, et al. A voxel-based morphometric study of ageing in 465 "
    "normal adult human brains. NeuroImage 14(1):21–36 (2001). doi:10.1006/nimg.2001.0786",
    "segresnet": "Myronenko A. 3D MRI brain tumor segmentation using autoencoder regularization. BrainLes 2018, "
    "Lecture Notes in Computer Science 11384:311–320 (2019). doi:10.1007/978-3-030-11726-9_28",
    "synthseg": "Billot B, Greve DN, Puonti O, et al. SynthSeg: segmentation of brain MRI scans of any contrast and "
    "resolution without retraining. Medical Image Analysis 86:102789 (2023). "
    "doi:10.1016/j.media.2023.102789",
    "cit168": "Pauli WM, Nili AN, Tyszka JM. A high-resolution probabilistic in vivo atlas of human subcortical "
    "brain nuclei. Scientific Data 5:180063 (2018). doi:10.1038/sdata.2018.63",
    "habenula-hcp": "Kim JW, Naidich TP, Ely BA, et al. Human habenula segmentation using myelin content. NeuroImage "
    "130:145–156 (2016).",
    "habenula-unet": "Kyuragi Y, Oishi N, Hatakoshi M, et al. Segmentation and volume estimation of the habenula using "
    "deep learning in patients with depression. Biological Psychiatry Global Open Science 4(4):100314 "
    "(2024). doi:10.1016/j.bpsgos.2024.100314",
}

#: key -> how the text names it
SHORT: dict[str, str] = {
    "tandem": "The Tandem developers",
    "bids": "Gorgolewski et al., 2016",
    "bids-apps": "Gorgolewski et al., 2017",
    "pybids": "Yarkoni et al., 2019",
    "nipype": "Gorgolewski et al., 2011",
    "nibabel": "Brett et al.",
    "nilearn": "Abraham et al., 2014",
    "templateflow": "Ciric et al., 2022",
    "n4": "Tustison et al., 2010",
    "stejskal-tanner": "Stejskal and Tanner, 1965",
    "diffusion-tensor": "Basser et al., 1994",
    "ants": "Avants et al., 2011",
    "itk": "Avants et al., 2014",
    "syn": "Avants et al., 2008",
    "icbm-2009": "Fonov et al., 2009",
    "icbm-2011": "Fonov et al., 2011",
    "monai": "Cardoso et al., 2022",
    "pytorch": "Paszke et al., 2019",
    "combat": "Johnson et al., 2007",
    "combat-mri": "Fortin et al., 2018",
    "statsmodels": "Seabold and Perktold, 2010",
    "hc3": "MacKinnon and White, 1985",
    "outliers": "Iglewicz and Hoaglin, 1993",
    "hedges": "Hedges, 1981",
    "steiger": "Steiger, 2004",
    "fdr": "Benjamini and Hochberg, 1995",
    "holm": "Holm, 1979",
    "freedman-lane": "Winkler et al., 2014",
    "icc": "Shrout and Fleiss, 1979",
    "bland-altman": "Bland and Altman, 1986",
    "fmriprep": "Esteban et al., 2019",
    "alff": "Zang et al., 2007",
    "falff": "Zou et al., 2008",
    "reho": "Zang et al., 2004",
    "seed": "Biswal et al., 1995",
    "dual-regression": "Nickerson et al., 2017",
    "vbm": "Ashburner and Friston, 2000",
    "vbm-modulation": "Good et al., 2001",
    "segresnet": "Myronenko, 2018",
    "synthseg": "Billot et al., 2023",
    "cit168": "Pauli et al., 2018",
    "habenula-hcp": "Kim et al., 2016",
    "habenula-unet": "Kyuragi et al., 2024",
}
